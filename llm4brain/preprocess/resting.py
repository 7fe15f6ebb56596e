"""Clean BOLD of a subject in whose runs nothing need be shown: a pretraining cohort's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm4brain.preprocess import cifti, find, images
from llm4brain.preprocess.bold import Bold, labels, timing
from llm4brain.preprocess.grid import mni_grid
from llm4brain.sections import BoldSettings


def resting_bold(
    derivatives: Path, subject: str, settings: BoldSettings, tasks: Sequence[str] = ()
) -> Bold:
    """Preprocessed runs of a subject, whatever was shown in them; events are not looked for.

    Args:
        tasks: names or patterns; none: every task.

    Raises:
        UserError: whatever is wrong with a header or a sidecar, naming its file.
    """
    made = find.layout(derivatives, subject, derivative=True)
    if settings.space == cifti.SPACE:
        runs = cifti.runs(made, subject, tasks)
        grid, count = cifti.grayordinates(runs[0].bold, settings), cifti.volumes
    else:
        runs = find.derived_runs(made, subject, settings.space, tasks)
        grid, count = mni_grid(settings.voxel_mm), images.volumes
    named = dict(zip(labels([r.recording for r in runs]), runs, strict=True))
    described = {}
    for label, run in named.items():
        tr, start = timing(run)
        described[label] = {
            "events": [],
            "source": run.bold.name,
            "start_time": start,
            "tr": tr,
            "volumes": count(run.bold),
        }
    return Bold(named, grid.meta | {"runs": described, "subject": subject}, grid, settings)
