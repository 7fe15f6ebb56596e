"""Clean BOLD and the clip table -> one BOLD window per trial."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from llm4brain import steps
from llm4brain.checkpoint import Progress, remove_checkpoint, stamp
from llm4brain.clips import CLIP_COLUMNS, plan_windows, read_runs
from llm4brain.io import Arrays, read_table, write_table
from llm4brain.provenance import record, sha256
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

    def batches() -> Iterator[Callable[[], dict[str, np.ndarray]]]:
        yield lambda: grid
        for cut in plan.windows(read_runs(arrays)):
            yield lambda cut=cut: {"windows": cut()}

    folder = out.with_suffix(".checkpoint")
    progress = Progress(folder, [made_by, stamp(bold), sha256(clips)])
    write_table(trials, plan.trials)
    progress.stream(out, shapes, batches(), arrays.meta | {"provenance": made_by})
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
