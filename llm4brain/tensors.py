"""Weights that come from a file are all there, in the right shape, and are numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from llm4brain.errors import UserError, some

if TYPE_CHECKING:  # torch takes seconds
    from torch import Tensor

BROKEN = (OSError, ValueError, RuntimeError, SafetensorError)


@contextmanager
def loading(
    where: object,
    wrong: str,
    todo: str,
    errors: tuple[type[Exception], ...] = BROKEN,
    line: int = 0,
) -> Iterator[None]:
    """Turn what a library raises at files that it cannot load into one line.

    Args:
        where, wrong, todo: of the error; `wrong` is followed by what the library says.
        errors: what the library raises.
        line: of its message.

    Raises:
        UserError: unless memory ran out, which is no fault of the files.
    """
    try:
        yield
    except errors as error:
        text = str(error).strip()
        if "allocate memory" in text or "out of memory" in text:
            raise
        said = (text.splitlines() or [type(error).__name__])[line].strip()
        raise UserError(where, f"{wrong} ({said})", todo) from None


def require_whole(
    where: object,
    tensors: Mapping[str, Tensor],
    todo: str,
    *,
    lacks: Collection[str] = (),
    strangers: Collection[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Refuse weights of which some would stay random, be passed over, or be no numbers.

    Args:
        where: file or folder, for the error.
        tensors: the weights that were read, by name.
        lacks: names that are wanted and not there.
        strangers: names that are there and have no place in the model.
        shapes: name -> shape; each must be among `tensors`, and of that shape.

    Raises:
        UserError: which weight, and what is wrong with it.
    """
    wanted = shapes or {}
    if lost := sorted({*lacks, *(wanted.keys() - tensors.keys())}):
        raise UserError(where, f"lacks the weights {some(lost, 3)}", todo)
    if strangers:
        wrong = f"holds {some(sorted(strangers), 3)}, for which the model has no place"
        raise UserError(where, wrong, todo)
    for name, shape in wanted.items():
        if (found := tuple(tensors[name].shape)) != tuple(shape):
            wrong = f"holds {name} of shape {found}, not {tuple(shape)}"
            raise UserError(where, wrong, todo)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(where, f"holds NaN or infinite values in {name}", todo)
