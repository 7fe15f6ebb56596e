"""Films and captions of Wen 2018 -> links in the stimuli folder of the data set."""

from pathlib import Path

from llm4brain import steps
from llm4brain.wen2018.convert import link_films


def main(films: list[Path], out_dir: Path, code: str = "") -> None:
    link_films(films, out_dir)


if __name__ == "__main__":
    steps.run(main)
