"""Snakemake's locks of a run that was killed are removed; those of a live run stay.

Snakemake writes what it locks into files, which a killed run leaves behind. Here every run and each
of its jobs also holds a shared `flock` on one file. The kernel releases it when a process ends,
however it ends. So if this file can be locked exclusively, no run and no job is alive.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import TextIO

NAME = "alive.lock"
_held: list[TextIO] = []  # open until the process ends


def hold(folder: Path) -> bool:
    """Hold the lock in `folder` (`.snakemake`) until this process ends.

    Returns:
        Whether no other process held it. Then Snakemake's own lock files have been deleted.
    """
    folder.mkdir(exist_ok=True)
    handle = (folder / NAME).open("a")
    _held.append(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
        for left in (folder / "locks").glob("*"):
            left.unlink(missing_ok=True)
    except OSError:
        alone = False  # another one is alive, or the file system has no locks
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)  # other processes may hold this one too
    return alone
