"""Captions from a table of the user, joined to the clip table."""

import sys
from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.io import read_table, write_table
from llm4brain.video.reference_captions import file_captions


def main(
    clips: Path,
    file: Path,
    out: Path,
) -> None:
    captions, others = file_captions(read_table(clips, CLIP_COLUMNS), file)
    if others:
        print(f"{file}: captions of {', '.join(others)} are of no split", file=sys.stderr)
    write_table(out, captions)


if __name__ == "__main__":
    steps.run(main)
