"""Clean BOLD of a subject in whose runs nothing need be shown: a pretraining cohort's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mode

import numpy as np

from llm4brain.io import Arrays
from llm4brain.preprocess import find
from llm4brain.preprocess.bold import Bold, in_space, labels, timing
from llm4brain.sections import BoldSettings


class Resting(Bold):
    """Runs whose volumes are means over so many as were scanned (`averaged` of a run in meta)."""

    def read(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """As of Bold, cleaned at the TR of the scan, and averaged then."""
        return averaged(*super().read(label), self.meta["runs"][label]["averaged"])


def resting_bold(
    derivatives: Path,
    subject: str,
    settings: BoldSettings,
    tasks: Sequence[str] = (),
    own_tr: float | None = None,
) -> Resting:
    """Preprocessed runs of a subject, whatever was shown in them; events are not looked for.

    Args:
        tasks: names or patterns; none: every task.
        own_tr: s, of the cohort that is decoded. Runs scanned faster are averaged in groups of
            volumes, so that a window of as many volumes spans about as many seconds.

    Raises:
        UserError: whatever is wrong with a header or a sidecar, naming its file.
    """
    made = find.layout(derivatives, subject, derivative=True)
    runs, grid, count = in_space(made, subject, settings, tasks)
    named = dict(zip(labels([r.recording for r in runs]), runs, strict=True))
    described = {}
    for label, run in named.items():
        tr, start = timing(run)
        group = max(1, int((own_tr or tr) / tr + 0.5))
        if own_tr and abs(group * tr / own_tr - 1) > 0.1:
            said = f"a volume spans {group * tr:g} s, and {own_tr:g} s in the decoded cohort"
            print(f"{run.bold.name}: {said}", file=sys.stderr)
        volumes = count(run.bold)
        if volumes < 2 * group:
            print(f"{run.bold.name}: too short to be averaged, left out", file=sys.stderr)
            continue
        described[label] = {
            "averaged": group,
            "events": [],
            "source": run.bold.name,
            "start_time": start,
            "tr": group * tr,
            "volumes": volumes // group,
        }
    named = {label: named[label] for label in described}
    return Resting(named, grid.meta | {"runs": described, "subject": subject}, grid, settings)


def averaged(bold: np.ndarray, valid: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over groups of volumes, z-scored anew; a group is valid where all of it is.

    Args:
        bold: (time, voxels), mean 0.
        valid: (time,).

    Returns:
        (time // group, voxels) float32 and (time // group,): an unfinished last group goes.
    """
    if group == 1:
        return bold, valid
    whole = len(bold) // group
    means = bold[: whole * group].reshape(whole, group, -1).mean(axis=1, dtype=np.float64)
    means -= means.mean(axis=0)
    spread = means.std(axis=0, ddof=1)
    means /= np.where(spread > 0, spread, 1)
    return means.astype(np.float32), valid[: whole * group].reshape(whole, group).all(axis=1)


def usual_tr(bold: Path) -> float:
    """TR (s) of most runs of a subject's clean BOLD (`data/bold/sub-XX.safetensors`)."""
    return mode([run["tr"] for run in Arrays(bold).meta["runs"].values()])
