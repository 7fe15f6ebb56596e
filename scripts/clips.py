"""Stimuli and splits -> the clip table."""

import sys
from pathlib import Path

from llm4brain import steps
from llm4brain.clips import clip_table
from llm4brain.io import write_table
from llm4brain.sections import ClipSettings, Splits
from llm4brain.splits import resolve
from llm4brain.video.frames import stimulus_durations


def main(
    stimuli: Path,
    splits: str,
    out: Path,
    settings: str,
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    split = resolve(Splits.model_validate_json(splits), stimuli)
    names = [*split.train, *split.validation, *split.test]
    duration = ClipSettings.given(settings).duration
    table, rest = clip_table(stimulus_durations(stimuli, names), split, duration)
    for stim_file, seconds in rest.items():
        print(f"{stim_file}: its last {seconds:.1f} s are in no clip", file=sys.stderr)
    write_table(out, table)


if __name__ == "__main__":
    steps.run(main)
