"""Wen 2018's films, and captions beside them -> links in the data set's stimuli folder."""

from pathlib import Path

from llm4brain import steps
from llm4brain.wen2018.convert import link_films


def main(films: list[Path], out_dir: Path, code: str = "") -> None:
    link_films(films, out_dir)


if __name__ == "__main__":
    steps.run(main)
