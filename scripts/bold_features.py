"""Clean BOLD and the clip table -> one BOLD window per trial."""

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
    for line in plan.said():
        print(line, file=sys.stderr)
    bold_made_by = arrays.meta.pop("provenance")
    made_by = {"bold": bold_made_by, "clips": record(chosen.model_dump(mode="json"), code, seed)}
    grid = {name: arrays[name] for name in ("voxels", "coordinates") if name in arrays.names}
    windows = ("windows", ("float16", (len(plan.trials), plan.span, len(grid["voxels"]))))
    shapes = dict([windows, *((n, (a.dtype.name, a.shape)) for n, a in grid.items())])
    parts = (("windows", rows) for rows in plan.windows(read_runs(arrays)))
    write_table(trials, plan.trials)
    stream_arrays(out, shapes, chain(grid.items(), parts), arrays.meta | {"provenance": made_by})


if __name__ == "__main__":
    steps.run(main)
