"""The samples of a cohort: one window of BOLD for each subject and clip, averaged over repeats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from llm4brain.brain.stored import Stored
from llm4brain.errors import UserError
from llm4brain.io import Arrays, read_table
from llm4brain.showings import LEAST_VALID, by_clip, first_showings, means, require_valid


@dataclass(frozen=True)
class Cohort:
    """Windows of BOLD, one per sample.

    Attributes:
        windows: (samples, T, voxels) float32, z-scored BOLD.
        table: one row per sample: subject, clip_id, stim_file, split.
        voxels: (voxels, 3) index on the shared grid, or (n, 4) of grayordinates.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates, NaN where unknown; None for voxels.
    """

    windows: np.ndarray
    table: pd.DataFrame
    voxels: np.ndarray
    affine: np.ndarray
    coordinates: np.ndarray | None = None

    @property
    def millimetres(self) -> np.ndarray:
        """(positions, 3) MNI coordinates, NaN where unknown."""
        if self.coordinates is not None:
            return self.coordinates
        return self.voxels @ self.affine[:3, :3].T + self.affine[:3, 3]

    def split(self, *names: str) -> Cohort:
        """The samples of the named splits; each fitting step requests the splits it may use."""
        keep = self.table["split"].isin(names).to_numpy()
        table = self.table[keep].reset_index(drop=True)
        return replace(self, windows=self.windows[keep], table=table)

    def column(self, name: str) -> np.ndarray:
        return self.table[name].to_numpy(dtype=str)


def load(
    subjects: Sequence[str],
    features: Sequence[Path],
    trials: Sequence[Path],
    splits: tuple[str, ...],
    repeats: Literal["average", "single", "every"] = "average",
    labelled: Mapping[str, int] | None = None,
) -> Cohort:
    """Load the requested splits of each subject's features.

    Args:
        subjects, features, trials: one entry per subject, in the same order.
        splits: other splits are discarded, so that they cannot be fitted by mistake.
        repeats: a sample is the mean over a clip's valid trials ("average"), its first valid
            trial ("single"), or each trial is a separate sample ("every").
        labelled: subject -> number of training trials to use, the first ones that were scanned.
            Validation trials of such a subject are not used.

    Raises:
        UserError: subjects have different voxels, or a subject has no trial in `splits`, or no
            valid one.
    """
    sources, tables, first = [], [], None
    for subject, path, table_path in zip(subjects, features, trials, strict=True):
        arrays = Arrays(path)
        table = read_table(table_path, ("trial", "clip_id", "stim_file", "split"))
        keep = table["split"].isin(splits).to_numpy()
        if labelled and subject in labelled:
            keep = _first_known(table, splits, labelled[subject], table_path)
            if not keep.any():  # only other splits were requested
                continue
        if not keep.any():
            raise UserError(table_path, f"holds no trial of {', '.join(splits)}", "check splits")
        _row_for_row(arrays, table)
        rows = np.flatnonzero(keep)
        every = table = table[keep].reset_index(drop=True)
        groups = [np.array([i]) for i in range(len(rows))]
        if repeats == "single":
            rows, table = first_showings(rows, table)
        if repeats != "every":
            groups, table = by_clip(table)
            if not labelled:  # of a few known trials the caller says what none is
                require_valid(every, table, table_path)
        first = grid_of(arrays, first)
        _as_many_volumes(arrays, features[0])
        sources.append((arrays, [rows[group] for group in groups]))
        tables.append(table.assign(subject=subject)[["subject", "clip_id", "stim_file", "split"]])
    shape = sources[0][0].shape("windows")[1:]
    windows = np.empty((sum(len(groups) for _, groups in sources), *shape), dtype=np.float32)
    start = 0
    for arrays, groups in sources:
        means(arrays.mapped("windows"), groups, windows[start : start + len(groups)])
        start += len(groups)
    return Cohort(windows, pd.concat(tables, ignore_index=True), *first)


def trials_of(
    subject: str, features: Path, trials: Path, splits: tuple[str, ...]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean volumes of a subject's valid trials, (trials, positions) float32, and their table."""
    arrays = Arrays(features)
    table = read_table(trials, ("trial", "clip_id", "repeat", "split", "valid"))
    _row_for_row(arrays, table)
    keep = (table["split"].isin(splits) & (table["valid"] >= LEAST_VALID)).to_numpy()
    mapped = arrays.mapped("windows")
    volumes = np.empty((keep.sum(), mapped.shape[2]), dtype=np.float32)
    for place, row in zip(volumes, np.flatnonzero(keep), strict=True):
        mapped[row].mean(0, dtype=np.float32, out=place)
    return volumes, table[keep].reset_index(drop=True)


def stored(
    subjects: Sequence[str],
    features: Sequence[Path],
    trials: Sequence[Path],
    splits: tuple[str, ...],
    apart: bool = True,
) -> Stored:
    """The windows that `load` gives with `repeats="every"`, in the same order, left on disk.

    Args:
        apart: treat each volume of a window as a separate sample.

    Raises:
        UserError: see `load`.
    """
    places, first = [], None
    for number, (_, path, table_path) in enumerate(zip(subjects, features, trials, strict=True)):
        arrays, table = Arrays(path), read_table(table_path, ("split",))
        rows = np.flatnonzero(table["split"].isin(splits))
        if not len(rows):
            raise UserError(table_path, f"holds no trial of {', '.join(splits)}", "check splits")
        _row_for_row(arrays, table)
        first = grid_of(arrays, first)
        _as_many_volumes(arrays, features[0])
        volumes = arrays.shape("windows")[1]
        starts = rows * volumes
        if apart:
            starts = (starts[:, None] + np.arange(volumes)).ravel()
        places.append(np.stack([np.full_like(starts, number), starts], axis=1))
    sources = [(path, "windows") for path in features]
    return Stored(sources, np.concatenate(places), 1 if apart else volumes, *first)


def _row_for_row(arrays: Arrays, table: pd.DataFrame) -> None:
    windows = arrays.shape("windows")[0]
    if windows != len(table):
        wrong = f"has {windows} windows for {len(table)} trials"
        raise UserError(arrays.path, wrong, "remake both")


def _as_many_volumes(arrays: Arrays, first: Path) -> None:
    """Check that windows have the same number of volumes in all subjects."""
    own, other = arrays.shape("windows")[1], Arrays(first).shape("windows")[1]
    if own != other:
        wrong = f"has windows of {own} volumes, and {first} of {other}: their TRs differ"
        raise UserError(arrays.path, wrong, "set clips.window to as many volumes in both")


def grid_of(
    arrays: Arrays, before: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Voxels and affine of a BOLD file, and coordinates if it holds grayordinates.

    Raises:
        UserError: they differ from those of the previous file, `before`.
    """
    at = arrays["coordinates"] if "coordinates" in arrays.names else None
    grid = (arrays["voxels"], np.array(arrays.meta["affine"]), at)
    before = before or grid
    if not (np.array_equal(before[0], grid[0]) and np.allclose(before[1], grid[1])):
        wrong = "lies on other voxels than the subject before it"
        raise UserError(arrays.path, wrong, "remake both")
    return before


def _first_known(
    table: pd.DataFrame, splits: tuple[str, ...], number: int, where: Path
) -> np.ndarray:
    """Mask of the first `number` training trials; empty if `splits` has no training split."""
    train = (table["split"] == "train").to_numpy()
    # numerical order: run 10 comes after run 2, and session 10 after session 2
    runs = {run: i for i, run in enumerate(sorted(set(table["run"]), key=_numbers))}
    order = table.assign(run=table["run"].map(runs))[train]
    scanned = order.sort_values(["run", "trial"], kind="stable").index[:number]
    if len(scanned) < number:
        wrong = f"holds {len(scanned)} training trials, and {number} were asked for"
        raise UserError(where, wrong, "ask for fewer minutes")
    return table.index.isin(scanned) & ("train" in splits)


def _numbers(label: str) -> list[tuple[int, str]]:
    """Sort key that compares the numbers in a label numerically."""
    parts = re.split(r"(\d+)", str(label))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def rows_of(names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Index in `names` of each element of `wanted`."""
    place = {name: i for i, name in enumerate(names)}
    missing = sorted(set(wanted) - place.keys())
    if missing:
        raise UserError("clips", f"no video features of {missing[0]}", "remake the video features")
    return np.array([place[name] for name in wanted])
