"""Write description and README of the phantom's BIDS data set."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.dataset import write_description
from llm4brain.provenance import record
from llm4brain.sections import PhantomSettings


def main(out_dir: Path, settings: str, seed: int = 0, code: str = "") -> None:
    phantom = PhantomSettings.given(settings)
    write_description(out_dir, record(phantom.model_dump(), code, seed))


if __name__ == "__main__":
    steps.run(main)
