"""A job that had too little memory: one line that says so, and which setting to lower.

An allocation that fails is an error of Python or torch. A system that runs out of memory kills the
job instead (SIGKILL, status 137). The job's shell outlives it and calls this module, which then
says it (rules/common.smk).
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm4brain.errors import UserError

VOXELS = "raise bold.voxel_mm"
LOADED = "set video_llm.quantize or video_llm.device_map"
# Script -> the settings that decide its memory
REMEDY = {
    "pretraining": "lower pretraining.fit.batch_size, or set encoder.gradient_checkpointing",
    "pretrain": "lower encoder.fit.batch_size, or set encoder.gradient_checkpointing",
    "align": f"lower align.fit.batch_size, or {VOXELS}",
    "adapt": f"lower adapt.fit.batch_size, or {VOXELS}",
    "tune": f"lower tune.fit.batch_size, or set tune.gradient_checkpointing, or {LOADED}",
    "video_llm": "lower video_llm.contrast.batch_size and video_llm.generate.batch_size",
    "preprocess_fmriprep": "raise preprocess.mem_mb",
}
REMEDY |= dict.fromkeys(("video_features", "captions_generated", "decode", "reference"), LOADED)
REMEDY |= dict.fromkeys(("bold", "bold_features", "pretraining_bold", "brain_map"), VOXELS)
MORE = "run fewer jobs at once, or give it more memory (on a cluster, mem_mb: docs/cluster.md)"
KILLED = 128 + 9  # status of a shell's command that got SIGKILL
# What torch (CPU), numpy's and the system's allocators say where they raise no error of their own
SAID = ("DefaultCPUAllocator", "not enough memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")


def of_memory(error: BaseException) -> bool:
    """Whether an error is one of too little memory, on the machine or its GPU."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported here
    return named or (isinstance(error, RuntimeError) and any(text in str(error) for text in SAID))


def too_little(script: str, wrong: str, more: bool = True) -> UserError:
    """The error for a script that had too little memory.

    Args:
        script: its name, without `.py`.
        more: whether more memory, or fewer jobs at once, would help too.
    """
    todo = [*([REMEDY[script]] if script in REMEDY else []), *([MORE] if more else [])]
    return UserError(script, wrong, ", or ".join(todo) or "take a GPU with more memory")


@contextmanager
def in_memory(script: str) -> Iterator[None]:
    """Tell errors of memory as one line.

    Raises:
        UserError: there is too little memory.
    """
    try:
        yield
    except Exception as error:
        if not of_memory(error):
            raise
        gpu = type(error).__name__ == "OutOfMemoryError" or "CUBLAS" in str(error)
        has = "the GPU has" if gpu else "there is"
        raise too_little(script, f"needs more memory than {has}", more=not gpu) from None


def killed(status: int, command: str) -> str:
    """Write a line to the log of a job that was killed; Snakemake prints the log.

    Args:
        status: with which the job's shell ends.
        command: of the job: `... $SCRIPTS/NAME.py ... > LOG 2>&1`.

    Returns:
        the line if it could not be written, else nothing; nothing if no process was killed.
    """
    script, log = re.search(r"SCRIPTS/(\w+)\.py", command), re.search(r"> (\S+) 2>&1", command)
    log = Path(log[1]) if log else None
    said = log.read_text(errors="replace") if log and log.is_file() else ""
    # torchrun ends with status 1 where one of its processes was killed
    if script is None or (status != KILLED and "Signal 9 (SIGKILL)" not in said):
        return ""
    line = f"error: {too_little(script[1], 'was killed, probably for want of memory')}\n"
    with suppress(OSError), (log or Path("/dev/full")).open("a") as file:
        file.write(line)
        file.flush()
        return ""
    return line


if __name__ == "__main__":
    sys.stderr.write(killed(int(sys.argv[1]), os.environ["JOB"]))
