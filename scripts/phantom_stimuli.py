"""Render the films that the phantom cohort watches, with captions, as a BIDS data set's root."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.config import PhantomSettings
from llm4brain.errors import one_line_errors
from llm4brain.phantom.dataset import write_stimuli
from llm4brain.provenance import record


def main(
    out_dir: Annotated[Path, typer.Option()],
    settings: str = "{}",
    subjects: Annotated[list[str], typer.Option()] = ["01", "02", "03"],  # noqa: B006
    seed: int = 0,
    code: str = "",
) -> None:
    with one_line_errors():
        phantom = PhantomSettings.model_validate_json(settings)
        made = record(phantom.model_dump(), code, seed)
        write_stimuli(out_dir, phantom, subjects, seed, made)


if __name__ == "__main__":
    typer.run(main)
