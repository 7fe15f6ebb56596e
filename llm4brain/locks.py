"""Snakemake's locks of a run that was killed are removed; those of a live run stay.

Snakemake writes what it locks into files, which a killed run leaves behind. Here every run and each
of its jobs also holds a shared `flock` on one file, which says on which machine the run is. The
kernel releases the lock when the processes end, however they end. So if the file names this
machine and can be locked exclusively, no run and no job is alive, and the lock files are removed.

Runs whose jobs go to a cluster, or that were on another machine, keep their files: their processes
cannot be seen from here, and `snakemake --unlock` is for the user to call.
"""

from __future__ import annotations

import fcntl
import socket
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from llm4brain.errors import warn

NAME = "alive.lock"
BUSY = "{}: another run, or a job of one, is at work in this folder; if both make the same files, "
BUSY += "this run stops ('cannot be locked'): wait until the other has ended, without --unlock"
_held: list[TextIO] = []  # open until the process ends


def hold(folder: Path, cluster: bool = False) -> bool:
    """Hold the lock in `folder` (`.snakemake`) until this process ends; warn of another run there.

    Args:
        folder: of Snakemake's own files.
        cluster: whether jobs run on other machines.

    Returns:
        Whether locks that a killed run had left were removed.
    """
    place = "cluster" if cluster else socket.gethostname()
    removed = False
    with suppress(OSError):  # a read-only project, or a file system without locks
        folder.mkdir(exist_ok=True)
        handle = (folder / NAME).open("a+")
        _held.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn(BUSY.format(folder.resolve().parent))
        else:
            handle.seek(0)
            left = list((folder / "locks").glob("*"))
            if left and not cluster and handle.read() == place:
                for path in left:
                    path.unlink(missing_ok=True)
                removed = True
            elif not left:
                handle.truncate(0)
                handle.write(place)
                handle.flush()
        fcntl.flock(handle, fcntl.LOCK_SH)  # other processes may hold this one too
    return removed
