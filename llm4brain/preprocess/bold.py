"""A subject's derivatives and events -> one file of BOLD arrays."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm4brain.errors import UserError
from llm4brain.preprocess import clean, find, images
from llm4brain.preprocess.events import read_events
from llm4brain.preprocess.grid import Grid, mni_grid
from llm4brain.sections import BoldSettings


@dataclass(frozen=True)
class Bold:
    """What `data/bold/sub-XX.safetensors` holds: arrays and their description."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def subject_bold(bids_dir: Path, derivatives: Path, subject: str, settings: BoldSettings) -> Bold:
    """Clean all runs of a subject during which a stimulus was shown.

    Returns:
        arrays `run-NN` float32 (volumes, voxels), `valid-NN` bool (volumes), `voxels` int16
        (voxels, 3); meta: subject, affine, shape, settings, and `runs`: NN -> tr, start_time (s),
        volumes, events, source.

    Raises:
        UserError: whatever is wrong with a derivative or an event, naming its file.
    """
    raw = find.layout(bids_dir, subject)
    scanned = find.run_stems(raw, subject)
    runs = find.derived_runs(
        find.layout(derivatives, subject, derivative=True), subject, settings.space
    )
    grid = mni_grid(settings.voxel_mm)
    arrays: dict[str, np.ndarray] = {"voxels": grid.voxels}
    described: dict[str, Any] = {}
    for run, label in zip(runs, labels([r.recording for r in runs]), strict=True):
        if run.recording.stem not in scanned:  # made before the run was taken out of the data set
            print(f"{run.recording.stem}: is no run of {bids_dir}, left out", file=sys.stderr)
            continue
        tr, start = timing(run)
        path = find.events_file(raw, run.recording)
        data, affine = images.read(run.bold, 4)
        end = start + tr * data.shape[3]
        events = read_events(path, end) if path else []
        if not events:
            print(f"{run.recording.stem}: no event with a stim_file, left out", file=sys.stderr)
            continue
        bold, valid = clean_derivative(run, data, affine, tr, grid, settings)
        arrays |= {f"run-{label}": bold, f"valid-{label}": valid}
        described[label] = {
            "events": events,
            "source": run.bold.name,
            "start_time": start,
            "tr": tr,
            "volumes": len(bold),
        }
    if not described:
        raise UserError(
            bids_dir / f"sub-{subject}",
            "has no event with a stim_file in any run",
            "name the stimulus of each event in its events.tsv",
        )
    return Bold(
        arrays,
        {
            "affine": grid.affine.tolist(),
            "shape": list(grid.shape),
            "runs": described,
            "subject": subject,
        },
    )


def clean_derivative(
    run: find.Derived,
    data: np.ndarray,
    affine: np.ndarray,
    tr: float,
    grid: Grid,
    settings: BoldSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """One run: (volumes, voxels) float32 clean BOLD, (volumes,) bool validity."""
    images.check(run.bold, data)
    mask, mask_affine = images.read(run.mask, 3)
    if mask.shape != data.shape[:3] or not np.allclose(mask_affine, affine, atol=1e-3):
        raise UserError(
            run.mask,
            f"is not on the grid of its BOLD ({mask.shape} against {data.shape[:3]})",
            "run preprocessing of this run again",
        )
    table = clean.read_confounds(run.confounds, data.shape[3])
    chosen = clean.regressors(run.confounds, run.bold, table, settings.confounds)
    signals = clean.on_grid(run.bold, data, affine, mask > 0, grid)
    return (
        clean.clean_run(signals, chosen, tr, settings),
        clean.valid_volumes(table, settings.fd_threshold),
    )


def timing(run: find.Derived) -> tuple[float, float]:
    """TR and StartTime (s) by the derivative's JSON; fMRIPrep's StartTime is its slice timing."""
    tr = run.metadata.get("RepetitionTime")
    if not isinstance(tr, int | float) or tr <= 0:
        raise UserError(
            run.bold, "has no RepetitionTime in its JSON", "run preprocessing of this run again"
        )
    return float(tr), float(run.metadata.get("StartTime") or 0.0)


def labels(recordings: list[find.Recording]) -> list[str]:
    """A short name for each run: its run entity, or all entities where that names two runs."""
    short = [r["run"] for r in recordings]
    if all(short) and len(set(short)) == len(short):
        return [str(s) for s in short]
    return [r.stem.removeprefix(f"sub-{r.subject}_") for r in recordings]
