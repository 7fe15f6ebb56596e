"""The minimal backend: raw BIDS -> derivatives under fMRIPrep's names. No substitute for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from llm4brain import __version__
from llm4brain.errors import UserError
from llm4brain.io import atomic_write, write_json, write_table
from llm4brain.preprocess import confounds, find, images, motion
from llm4brain.preprocess.grid import Grid, mni_grid
from llm4brain.preprocess.timing import repetition_time, slice_times

SPACE = "MNI152NLin2009cAsym"
NO_SUBSTITUTE = (
    "Made by LLM4Brain's minimal backend, which is no substitute for fMRIPrep: it trusts the "
    "header's affine to be in MNI space, corrects rigid head motion only, and does no slice "
    "timing, no distortion correction and no nonlinear registration. For data of your own set "
    "preprocess: backend: fmriprep."
)
LEAST_COVER = 0.5


@dataclass(frozen=True)
class Preprocessed:
    """One run on the MNI grid.

    Attributes:
        bold: (x, y, z, time) float32.
        brain: (x, y, z) bool, the template's brain where the run covers it.
        motion: (time, 6) mm and radians, against the run's own mean.
        mean: (x, y, z), the run's mean once realigned.
    """

    bold: np.ndarray
    brain: np.ndarray
    motion: np.ndarray
    mean: np.ndarray


def resample(
    data: np.ndarray, affine: np.ndarray, grid: Grid, moves: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Undo each volume's motion and go to the MNI grid in one cubic interpolation.

    nilearn's `resample_img` takes one affine for all volumes; here each has its own.

    Args:
        data: (x, y, z, time) float32.
        affine: (4, 4) of `data`.
        moves: per volume (4, 4): a point of the reference's head -> where it lies in the volume.

    Returns:
        bold (X, Y, Z, time) on `grid`, and (X, Y, Z) bool, where no volume was read from outside
        of `data`.
    """
    bold = np.zeros((*grid.shape, data.shape[3]), dtype=np.float32)
    edge = np.array(data.shape[:3])
    corners = np.indices(grid.shape).reshape(3, -1)  # (3, voxels)
    outside = np.zeros(corners.shape[1], dtype=bool)
    inverse = np.linalg.inv(affine)
    for k, move in enumerate(moves):
        index = inverse @ move @ grid.affine  # grid voxel -> voxel of this volume
        at = index[:3, :3] @ corners + index[:3, 3:]
        outside |= ((at < -0.5) | (at > edge[:, None] - 0.5)).any(axis=0)
        # mirror at the edge, in the spline and in reading it, is exact at the voxels
        bold[..., k] = ndimage.affine_transform(
            data[..., k],
            index[:3, :3],
            index[:3, 3],
            output_shape=grid.shape,
            order=3,
            mode="mirror",
        )
    covered = ~outside.reshape(grid.shape)
    bold[~covered] = 0
    return bold, covered


def preprocess_run(
    data: np.ndarray, affine: np.ndarray, grid: Grid, reference: np.ndarray | None = None
) -> Preprocessed:
    """Realign a run and bring it to the MNI grid.

    Args:
        data: (x, y, z, time) float32.
        affine: (4, 4) voxel -> mm, MNI-like.
        reference: (X, Y, Z) on `grid`, the mean of the subject's first run: the run is brought
            onto it, so that a subject's runs lie on each other. None for the first run itself.
    """
    centre = affine[:3, :3] @ ((np.array(data.shape[:3]) - 1) / 2) + affine[:3, 3]
    moved = motion.estimate(data, data.mean(axis=3), affine, centre)
    between = np.eye(4)
    if reference is not None:
        first, _ = resample(data.mean(axis=3, keepdims=True), affine, grid, [np.eye(4)])
        between = motion.matrix(motion.estimate(first, reference, grid.affine, centre)[0], centre)
    moves = [motion.matrix(row, centre) @ between for row in moved]
    bold, covered = resample(data, affine, grid, moves)
    return Preprocessed(bold, grid.brain & covered, moved, bold.mean(axis=3))


def preprocess_subject(
    bids_dir: Path, out: Path, subject: str, tasks: Sequence[str] = ()
) -> list[Path]:
    """Preprocess all runs of a subject.

    Args:
        tasks: names or patterns of the tasks whose runs are preprocessed; none: every task.

    Returns:
        the preprocessed BOLD files.

    Raises:
        UserError: a run that cannot be read or is not in MNI-like space, naming its file.
    """
    print(NO_SUBSTITUTE, file=sys.stderr)
    runs = find.raw_runs(find.layout(bids_dir, subject), subject, tasks)
    describe(out)
    reference, size, written = None, None, []
    for run in runs:
        tr = repetition_time(run.path, run.metadata, images.repetition_time(run.path))
        slice_times(run.path, run.metadata, tr)  # of which `sidecar` would say only at the end
        data, affine = images.read(run.path, 4)
        images.check(run.path, data)
        # one voxel size for all of the subject's runs: the first one's
        size = size or max(1, round(np.linalg.norm(affine[:3, :3], axis=0).mean()))
        grid = mni_grid(size)
        made = preprocess_run(data, affine, grid, reference)
        cover = made.brain.sum() / grid.brain.sum()
        if cover < LEAST_COVER:
            raise UserError(
                run.path,
                f"covers {cover:.0%} of the MNI brain, so its affine is not in MNI space",
                "use preprocess: backend: fmriprep",
            )
        reference = made.mean if reference is None else reference
        written.append(_write(out, run, made, grid, tr))
        shift = np.nanmax(motion.displacement(made.motion))
        print(f"{run.recording.stem}: {data.shape[3]} volumes, largest step {shift:.2f} mm")
    return written


def _write(out: Path, run: find.Found, made: Preprocessed, grid: Grid, tr: float) -> Path:
    """Write a run's derivatives; the BOLD last, so that it stands for the whole."""
    names = run.recording
    table = confounds.table(made.bold, made.motion, grid, made.brain, tr)
    write_table(out / names.confounds(), table)
    write_json(
        out / names.confounds_json(),
        {c: {"Method": "Mean"} for c in ("csf", "white_matter", "global_signal")},
    )
    images.write(out / names.mask(SPACE), made.brain, grid.affine)
    write_json(out / names.bold_json(SPACE), sidecar(run, tr))
    images.write(out / names.bold(SPACE), made.bold, grid.affine, tr)
    return out / names.bold(SPACE)


def sidecar(run: find.Found, tr: float) -> dict[str, Any]:
    """The derivative's JSON. Without slice timing a volume stands for the mean of its slices."""
    slices = slice_times(run.path, run.metadata, tr)
    return {
        "Description": NO_SUBSTITUTE,
        "RepetitionTime": tr,
        "SkullStripped": False,
        "SliceTimingCorrected": False,
        "Sources": [f"bids:raw:{run.recording.folder}/{run.path.name}"],
        "SpatialReference": "nilearn's MNI152 template (ICBM 2009a symmetric)",
        "StartTime": round(float(np.mean(slices)), 6) if slices else 0.0,
        "TaskName": run.metadata.get("TaskName", run.recording["task"]),
    }


def describe(out: Path) -> None:
    """The data set's own files: the same bytes whichever subject's job writes them."""
    write_json(
        out / "dataset_description.json",
        {
            "Name": "LLM4Brain minimal preprocessing (no substitute for fMRIPrep)",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "llm4brain-minimal", "Version": __version__, "Description": NO_SUBSTITUTE}
            ],
        },
    )
    # the validator does not know fMRIPrep's confounds; fMRIPrep has it ignore them, too
    for name, text in (("README", NO_SUBSTITUTE), (".bidsignore", "*_timeseries.*")):
        with atomic_write(out / name) as partial:
            partial.write_text(text + "\n")
