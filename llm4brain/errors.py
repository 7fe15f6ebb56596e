"""The error type for problems that the user can solve."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache


class UserError(Exception):
    """A problem that the user can solve: where it is, what is wrong, and what to do.

    Scripts and the command line print it as one line and exit with status 1. All other exceptions
    keep their traceback, because they indicate a bug.
    """

    def __init__(self, where: object, wrong: str, todo: str) -> None:
        self.where, self.wrong, self.todo = str(where), wrong, todo
        super().__init__(f"{where}: {wrong}; {todo}".replace("\n", " "))


def some(names: Collection[str], shown: int = 5) -> str:
    """The first few names, and the number of the others.

    >>> some(["a", "b", "c"], shown=2)
    'a, b and 1 others'
    """
    more = f" and {len(names) - shown} others" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more


def require_one(**given: object) -> None:
    """Exactly one of several options is given, and not None.

    Raises:
        UserError: none is, or more than one.
    """
    there = sum(value is not None for value in given.values())
    if there != 1:
        wrong = "are both given" if there else "are missing"
        raise UserError(" and ".join(given), wrong, "give one of them")


@cache
def warn(line: str) -> None:
    """Say something that is no error, once: one line on standard error."""
    print(f"warning: {line}".replace("\n", " "), file=sys.stderr)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a `UserError` as one line on standard error and exit with status 1."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
