"""Clean BOLD and the clip table -> the BOLD window of every trial."""

import sys
from itertools import chain
from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS, plan_windows, read_runs
from llm4brain.io import Arrays, read_table, stream_arrays, write_table
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
    plan = plan_windows(read_runs(arrays), read_table(clips, CLIP_COLUMNS), chosen)
    for reason, count in plan.left_out.items():
        print(f"{count} showings left out: {reason}", file=sys.stderr)
    bold_made_by = arrays.meta.pop("provenance")
    made_by = {"bold": bold_made_by, "clips": record(chosen.model_dump(mode="json"), code, seed)}
    voxels = arrays["voxels"]
    windows = ("windows", ("float16", (len(plan.trials), plan.span, len(voxels))))
    shapes = dict([windows, ("voxels", (voxels.dtype.name, voxels.shape))])
    parts = (("windows", rows) for rows in plan.windows(read_runs(arrays)))
    write_table(trials, plan.trials)
    stream_arrays(
        out, shapes, chain([("voxels", voxels)], parts), arrays.meta | {"provenance": made_by}
    )


if __name__ == "__main__":
    steps.run(main)
