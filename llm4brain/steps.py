"""How a script of `scripts/` becomes a command: every parameter a named option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, get_type_hints

import typer

from llm4brain.errors import one_line_errors


def run(step: Callable[..., None]) -> None:
    """Run `step` on the command line's options; a `UserError` ends in one line and status 1.

    Workflow rules name every input and output, so no option is positional and none that lacks
    a default may be left out. A parameter of type list[T] is an option that may be repeated.
    """
    hints = get_type_hints(step)
    step.__annotations__ = {
        name: hint if name == "return" else Annotated[hint, typer.Option()]
        for name, hint in hints.items()
    }
    with one_line_errors():
        typer.run(step)
