"""Raw BIDS of one subject -> derivatives, with fMRIPrep in a container."""

import signal
import sys
from pathlib import Path

from llm4brain import steps
from llm4brain.preprocess.fmriprep import preprocess_subject
from llm4brain.sections import PreprocessSettings


def main(
    bids: Path,
    subject: str,
    work: Path,
    mem_mb: int,
    out: Path,
    settings: str,
    machine: str,
    task: list[str] = (),
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    # a job that is told to end ends its container too
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chosen = PreprocessSettings.given(settings, machine)
    preprocess_subject(bids, out, work, subject, chosen, task, threads=threads, mem_mb=mem_mb)


if __name__ == "__main__":
    steps.run(main)
