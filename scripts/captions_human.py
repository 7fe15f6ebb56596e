"""Captions that people wrote, joined to the clip table."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.clips import CLIP_COLUMNS
from llm4brain.errors import one_line_errors
from llm4brain.io import read_table, write_table
from llm4brain.video.written import human_captions


def main(
    clips: Annotated[Path, typer.Option(help="clip table")],
    stimuli: Annotated[Path, typer.Option(help="folder of films and their captions")],
    out: Annotated[Path, typer.Option(help="table to write")],
) -> None:
    with one_line_errors():
        write_table(out, human_captions(read_table(clips, CLIP_COLUMNS), stimuli))


if __name__ == "__main__":
    typer.run(main)
