"""Render the films that the phantom cohort watches, with captions, into a data set's stimuli/."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.dataset import write_cohort_films
from llm4brain.sections import PhantomSettings


def main(out_dir: Path, settings: str, seed: int = 0, code: str = "") -> None:
    write_cohort_films(out_dir, PhantomSettings.given(settings), seed)


if __name__ == "__main__":
    steps.run(main)
