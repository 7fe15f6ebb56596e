"""Clean BOLD and the clip table -> the BOLD window of every trial."""

import sys
from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS, cut_windows, read_runs
from llm4brain.io import Arrays, read_table, write_arrays, write_table
from llm4brain.provenance import record
from llm4brain.sections import ClipSettings


def main(
    bold: Path,
    clips: Path,
    out: Path,
    trials: Path,
    settings: str,
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    chosen, arrays = ClipSettings.given(settings), Arrays(bold)
    made = cut_windows(read_runs(arrays), read_table(clips, CLIP_COLUMNS), chosen)
    for reason, count in made.left_out.items():
        print(f"{count} showings left out: {reason}", file=sys.stderr)
    bold_made_by = arrays.meta.pop("provenance")
    made_by = {"bold": bold_made_by, "clips": record(chosen.model_dump(mode="json"), code, seed)}
    write_table(trials, made.trials)
    arrays_out = {"windows": made.windows, "voxels": arrays["voxels"]}
    write_arrays(out, arrays_out, arrays.meta | {"provenance": made_by})


if __name__ == "__main__":
    steps.run(main)
