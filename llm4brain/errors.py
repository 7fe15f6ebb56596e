"""The error type for problems that the user can solve."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

# What a job's standard error was before it became the job's log (rules/common.smk)
TERMINAL = "LLM4BRAIN_TERMINAL"


class UserError(Exception):
    """A problem that the user can solve: where it is, what is wrong, and what to do.

    Scripts and the command line print it as one line and exit with status 1. All other exceptions
    keep their traceback, because they indicate a bug.
    """

    def __init__(self, where: object, wrong: str, todo: str) -> None:
        self.where, self.wrong, self.todo = str(where), wrong, todo
        super().__init__(one_line(f"{where}: {wrong}; {todo}"))


def one_line(text: str) -> str:
    """Text of a file or a name as one line that a terminal shows and does not obey.

    >>> one_line("two\\nlines, \\x1b[2Jand no film.mp4")
    'two lines, \\\\x1b[2Jand no film.mp4'
    """
    text = text.replace("\n", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that the disk (or one's share of it) is full.

    Libraries keep the system's number (OSError), or its words alone (safetensors, shutil, FFmpeg).
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def full_disk(where: object) -> UserError:
    """The error for a file or folder that could not be written for want of space."""
    return UserError(where, "cannot be written: the disk is full", "free space on it and run again")


@contextmanager
def needs_space(where: object) -> Iterator[None]:
    """Tell a full disk as that of `where`, a file or folder that the block writes.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not disk_is_full(error):
            raise
        raise full_disk(where) from None


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
    print(one_line(f"warning: {line}"), file=sys.stderr)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a `UserError`, or that the disk is full, as one line and exit with status 1."""
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, UserError) else _of_the_disk(error)
        if told is None:
            raise
    else:
        return
    line = f"error: {told}"
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # the log lies on the same full disk
        with suppress(KeyError, OSError), open(os.environ[TERMINAL], "a") as terminal:
            print(line, file=terminal)
    raise SystemExit(1) from None


def _of_the_disk(error: Exception) -> UserError | None:
    """The line for an error of a full disk that nothing has told of a file; None for others."""
    if "No usable temporary directory found" in str(error):  # tempfile has tried all, in vain
        todo = "free space on their disks, or point TMPDIR elsewhere"
        return UserError("folders of temporary files", f"cannot be written ({error})", todo)
    if not disk_is_full(error):
        return None
    # of a copy, the second one is what was written
    files = (getattr(error, name, None) for name in ("filename2", "filename"))
    return full_disk(next(filter(None, files), None) or f"{Path.cwd()} or the temporary folder")
