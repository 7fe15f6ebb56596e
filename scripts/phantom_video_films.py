"""Render the films and captions that train the small video-LLM."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.config import PhantomSettings
from llm4brain.errors import one_line_errors
from llm4brain.phantom.dataset import write_video_films
from llm4brain.provenance import record


def main(
    out_dir: Annotated[Path, typer.Option()],
    settings: str = "{}",
    seed: int = 0,
    code: str = "",
) -> None:
    with one_line_errors():
        phantom = PhantomSettings.model_validate_json(settings)
        write_video_films(out_dir, phantom, seed, record(phantom.model_dump(), code, seed))


if __name__ == "__main__":
    typer.run(main)
