"""Turn a script of `scripts/` into a command: every parameter becomes a named option."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from llm4brain.errors import one_line_errors
from llm4brain.memory import in_memory


def run(step: Callable[..., None]) -> None:
    """Run `step` with options from the command line; a `UserError` gives one line and status 1.

    Too little memory or a full disk is told in one line, too.

    Workflow rules name every input and output, so no option is positional, and options without a
    default are required. A parameter of type list[T] can be given repeatedly.
    """
    hints = get_type_hints(step)
    step.__annotations__ = {
        name: hint if name == "return" else Annotated[hint, typer.Option()]
        for name, hint in hints.items()
    }
    with one_line_errors(), in_memory(Path(sys.argv[0]).stem):
        try:
            typer.run(step)
        finally:
            sys.stdout.flush()  # a log on a full disk is an error here, and not at the exit
