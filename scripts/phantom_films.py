"""Render the films of the phantom cohort, with captions, into the stimuli folder."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.dataset import write_cohort_films
from llm4brain.sections import PhantomSettings


def main(out_dir: Path, settings: str, seed: int = 0, code: str = "") -> None:
    write_cohort_films(out_dir, PhantomSettings.given(settings), seed)


if __name__ == "__main__":
    steps.run(main)
