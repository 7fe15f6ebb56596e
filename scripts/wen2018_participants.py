"""Write the participants file of Wen 2018's BIDS data set."""

from pathlib import Path

from llm4brain import steps
from llm4brain.wen2018.convert import write_participants


def main(bids: Path, subjects: list[str], code: str = "") -> None:
    write_participants(bids, subjects)


if __name__ == "__main__":
    steps.run(main)
