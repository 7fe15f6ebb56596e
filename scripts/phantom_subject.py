"""Simulate one subject of the phantom cohort, who watches the films in --out-dir's stimuli/."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.config import PhantomSettings
from llm4brain.errors import one_line_errors
from llm4brain.phantom.scans import write_subject
from llm4brain.provenance import record


def main(
    subject: Annotated[str, typer.Option()],
    out_dir: Annotated[Path, typer.Option()],
    truth: Annotated[Path, typer.Option()],
    settings: str = "{}",
    seed: int = 0,
    code: str = "",
) -> None:
    with one_line_errors():
        phantom = PhantomSettings.model_validate_json(settings)
        made = record(phantom.model_dump(), code, seed)
        write_subject(out_dir, truth, phantom, subject, seed, made)


if __name__ == "__main__":
    typer.run(main)
