"""Raw BIDS of one subject -> derivatives, with the minimal backend (not a fMRIPrep replacement)."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from llm4brain import steps
from llm4brain.preprocess.minimal import preprocess_subject


def main(
    bids: Path,
    subject: str,
    out: Path,
    task: list[str] = (),
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    with threadpool_limits(threads):
        preprocess_subject(bids, out, subject, task)


if __name__ == "__main__":
    steps.run(main)
