"""Scans of one Wen 2018 subject on disk -> events, and derivatives as links."""

from pathlib import Path

from llm4brain import steps
from llm4brain.wen2018.convert import write_subject


def main(
    subject: str,
    scans: list[Path],
    bids: Path,
    out: Path,
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    write_subject(subject, scans, bids, out)


if __name__ == "__main__":
    steps.run(main)
