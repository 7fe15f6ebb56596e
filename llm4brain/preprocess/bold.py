"""A subject's derivatives and events -> one file of BOLD arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bids import BIDSLayout

from llm4brain.errors import UserError, warn
from llm4brain.preprocess import cifti, clean, find, images
from llm4brain.preprocess.events import read_events
from llm4brain.preprocess.grid import Grid, mni_grid
from llm4brain.preprocess.timing import repetition_time, slice_times, start_time
from llm4brain.sections import BoldSettings


@dataclass(frozen=True)
class Bold:
    """What `data/bold/sub-XX.safetensors` will hold; no run is read before it is asked for.

    Attributes:
        runs: label -> the run's derivative.
        meta: subject, affine, shape and `runs`: label -> tr, start_time (s), volumes, events,
            source.
    """

    runs: dict[str, find.Derived]
    meta: dict[str, Any]
    grid: Grid | cifti.Grayordinates
    settings: BoldSettings

    @property
    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each array: `run-NN` (volumes, voxels), `valid-NN` (volumes), and
        those of the grid."""
        own = self.grid.arrays
        voxels = len(own["voxels"])
        shapes = {name: (array.dtype.name, array.shape) for name, array in own.items()}
        for label, about in self.meta["runs"].items():
            shapes[f"run-{label}"] = ("float32", (about["volumes"], voxels))
            shapes[f"valid-{label}"] = ("bool", (about["volumes"],))
        return shapes

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays by name, each run read and cleaned when it is its turn.

        Raises:
            UserError: whatever is wrong with a derivative, naming its file.
        """
        yield from self.grid.arrays.items()
        for label in self.runs:
            bold, valid = self.read(label)
            yield f"run-{label}", bold
            yield f"valid-{label}", valid

    def read(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """One run, cleaned: (volumes, voxels) float32 and (volumes,) bool validity."""
        run = self.runs[label]
        return clean_derivative(run, timing(run)[0], self.grid, self.settings)


def subject_bold(
    bids_dir: Path,
    derivatives: Path,
    subject: str,
    settings: BoldSettings,
    tasks: Sequence[str] = (),
) -> Bold:
    """All runs of a subject during which a stimulus was shown.

    Args:
        tasks: names or patterns of the tasks that are read; none: every task.

    Raises:
        UserError: whatever is wrong with a header, a sidecar, an event or a confound, naming its
            file.
    """
    raw = find.layout(bids_dir, subject)
    scanned = find.run_stems(raw, subject, tasks)
    derived = find.layout(derivatives, subject, derivative=True)
    runs, grid, count = in_space(derived, subject, settings, tasks)
    shown_when = find.EventFiles.of(raw)
    shown: dict[str, find.Derived] = {}
    described: dict[str, Any] = {}
    for run, label in zip(runs, labels([r.recording for r in runs]), strict=True):
        if run.recording.stem not in scanned:  # made before the run was taken out of the data set
            print(f"{run.recording.stem}: is not a run of {bids_dir}, left out", file=sys.stderr)
            continue
        tr, start = timing(run)
        path = shown_when.nearest(run.recording)
        volumes = count(run.bold)
        events = read_events(path, start + tr * volumes) if path else []
        if not events:
            print(f"{run.recording.stem}: no event with a stim_file, left out", file=sys.stderr)
            continue
        # told before any run is read, which takes long
        table, _ = confounds(run, volumes, tr, settings)
        if not clean.valid_volumes(table, settings.fd_threshold).any():
            said = "no volume of the run is valid: all moved by more than bold.fd_threshold"
            warn(f"{run.confounds}: {said}, or precede steady state")
        check_mask(run)
        shown[label] = run
        described[label] = {
            "events": events,
            "source": run.bold.name,
            "start_time": start,
            "tr": tr,
            "volumes": volumes,
        }
    if not described:
        raise UserError(
            bids_dir / f"sub-{subject}",
            "has no event with a stim_file in any run",
            "name the stimulus of each event in its events.tsv (docs/your-data.md says how)",
        )
    meta = grid.meta | {"runs": described, "subject": subject}
    return Bold(shown, meta, grid, settings)


def raw_events(
    bids_dir: Path, subject: str, tasks: Sequence[str] = ()
) -> list[dict[str, float | str | None]]:
    """What was shown in the raw runs of a subject, their headers and sidecars looked at.

    Raises:
        UserError: whatever is wrong with a header, a sidecar or an event, naming its file.
    """
    raw = find.layout(bids_dir, subject)
    shown_when = find.EventFiles.of(raw)
    shown = []
    for run in find.raw_runs(raw, subject, tasks, echoes=True):
        tr = repetition_time(run.path, run.metadata, images.repetition_time(run.path))
        slices = slice_times(run.path, run.metadata, tr)
        end = float(np.mean(slices or [0.0])) + tr * images.volumes(run.path)
        path = shown_when.nearest(run.recording.without("echo").without("part"))
        shown += read_events(path, end) if path else []
    return shown


def in_space(
    derived: BIDSLayout, subject: str, settings: BoldSettings, tasks: Sequence[str]
) -> tuple[list[find.Derived], Grid | cifti.Grayordinates, Callable[[Path], int]]:
    """A subject's runs in the space of the settings, their grid, and what counts volumes."""
    if settings.space == cifti.SPACE:
        runs = cifti.runs(derived, subject, tasks)
        return runs, cifti.grayordinates(runs[0].bold, settings), cifti.volumes
    runs = find.derived_runs(derived, subject, settings.space, tasks)
    return runs, mni_grid(settings.voxel_mm), images.volumes


def clean_derivative(
    run: find.Derived, tr: float, grid: Grid | cifti.Grayordinates, settings: BoldSettings
) -> tuple[np.ndarray, np.ndarray]:
    """One run: (volumes, voxels) float32 clean BOLD, (volumes,) bool validity."""
    signals = read_derivative(run, grid)
    table, chosen = confounds(run, len(signals), tr, settings)
    return (
        clean.clean_run(signals, chosen, tr, settings),
        clean.valid_volumes(table, settings.fd_threshold),
    )


def confounds(
    run: find.Derived, volumes: int, tr: float, settings: BoldSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run's confounds, and those of them that are taken out: tables of one row a volume.

    Raises:
        UserError: they cannot be read, do not fit the run, or leave nothing of it.
    """
    table = clean.read_confounds(run.confounds, volumes)
    chosen = clean.regressors(run.confounds, run.bold, table, settings.confounds)
    clean.check_freedom(run.bold, chosen, volumes, tr, settings)
    return table, chosen


def read_derivative(run: find.Derived, grid: Grid | cifti.Grayordinates) -> np.ndarray:
    """One run as preprocessing left it, (volumes, voxels of the shared grid)."""
    if isinstance(grid, cifti.Grayordinates):
        return grid.read(run.bold)
    data, affine = images.read(run.bold, 4)
    images.check(run.bold, data)
    check_mask(run)
    mask, _ = images.read(run.mask, 3)
    return clean.on_grid(run.bold, data, affine, mask > 0, grid)


def check_mask(run: find.Derived) -> None:
    """Refuse a brain mask that is not on the grid of its BOLD, by their headers."""
    if run.mask is None:
        return
    (mask, one), (bold, other) = images.grid(run.mask, 3), images.grid(run.bold, 4)
    if mask != bold or not np.allclose(one, other, atol=1e-3):
        raise UserError(
            run.mask,
            f"is not on the grid of its BOLD ({mask} against {bold})",
            "run preprocessing of this run again",
        )


def timing(run: find.Derived) -> tuple[float, float]:
    """TR and start (s) by the derivative's JSON, see `llm4brain.preprocess.timing`."""
    of = cifti if run.mask is None else images
    tr = repetition_time(run.bold, run.metadata, of.repetition_time(run.bold))
    return tr, start_time(run.bold, run.metadata, tr)


def labels(recordings: list[find.Recording]) -> list[str]:
    """A short name for each run: its run entity, or all entities where that names two runs."""
    short = [r["run"] for r in recordings]
    if all(short) and len(set(short)) == len(short):
        return [str(s) for s in short]
    return [r.stem.removeprefix(f"sub-{r.subject}_") for r in recordings]
