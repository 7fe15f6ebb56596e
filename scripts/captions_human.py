"""Human captions, joined to the clip table."""

from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.io import read_table, write_table
from llm4brain.video.reference_captions import human_captions


def main(
    clips: Path,
    stimuli: Path,
    out: Path,
) -> None:
    write_table(out, human_captions(read_table(clips, CLIP_COLUMNS), stimuli))


if __name__ == "__main__":
    steps.run(main)
