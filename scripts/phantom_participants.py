"""Write the participants files of the phantom's BIDS data set."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.dataset import write_participants


def main(out_dir: Path, subjects: list[str]) -> None:
    write_participants(out_dir, subjects)


if __name__ == "__main__":
    steps.run(main)
