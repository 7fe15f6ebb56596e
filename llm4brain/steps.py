"""Turn a script of `scripts/` into a command: every parameter becomes a named option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, get_type_hints

import typer

from llm4brain.errors import one_line_errors


def run(step: Callable[..., None]) -> None:
    """Run `step` with options from the command line; a `UserError` gives one line and status 1.

    Workflow rules name every input and output, so no option is positional, and options without a
    default are required. A parameter of type list[T] can be given repeatedly.
    """
    hints = get_type_hints(step)
    step.__annotations__ = {
        name: hint if name == "return" else Annotated[hint, typer.Option()]
        for name, hint in hints.items()
    }
    with one_line_errors():
        typer.run(step)
