"""The samples of a cohort: one window of BOLD a subject and clip, repeats averaged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from llm4brain.brain.stored import Stored
from llm4brain.clips import LEAST_VALID, average_repeats, first_showings
from llm4brain.errors import UserError
from llm4brain.io import Arrays, read_table


@dataclass(frozen=True)
class Cohort:
    """Windows of BOLD, sample by sample.

    Attributes:
        windows: (samples, T, voxels) float32, z-scored BOLD.
        table: a row a sample: subject, clip_id, stim_file, split.
        voxels: (voxels, 3) index on the shared grid, or (n, 4) of grayordinates.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates, NaN where unknown; None of voxels.
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
        """The samples of the named splits; a step that is fitted asks for what it may see."""
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
    """Read the splits that a step may see of each subject's features.

    Args:
        subjects, features, trials: one entry a subject, in the same order.
        splits: nothing of another split is kept, so that it can't be fitted by mistake.
        repeats: a sample is the mean over a clip's valid trials, its first valid one, or each
            trial is a sample of its own.
        labelled: subject -> how many of its training trials are known, the first ones that were
            scanned. Of such a subject validation trials are not known either.

    Raises:
        UserError: subjects lie on different voxels, or nothing of `splits` is there.
    """
    windows, tables, first = [], [], None
    for subject, path, table_path in zip(subjects, features, trials, strict=True):
        arrays = Arrays(path)
        table = read_table(table_path, ("trial", "clip_id", "stim_file", "split"))
        keep = table["split"].isin(splits).to_numpy()
        if labelled and subject in labelled:
            keep = _first_known(table, splits, labelled[subject], table_path)
            if not keep.any():  # asked for other splits alone
                continue
        if not keep.any():
            raise UserError(table_path, f"holds no trial of {', '.join(splits)}", "check splits")
        _row_for_row(arrays, table)
        data = arrays["windows"][keep].astype(np.float32)
        table = table[keep].reset_index(drop=True)
        if repeats == "single":
            data, table = first_showings(data, table)
        if repeats != "every":
            data, table = average_repeats(data, table)
        first = grid_of(arrays, first)
        _as_many_volumes(arrays, features[0])
        windows.append(np.asarray(data, dtype=np.float32))
        tables.append(table.assign(subject=subject)[["subject", "clip_id", "stim_file", "split"]])
    return Cohort(np.concatenate(windows), pd.concat(tables, ignore_index=True), *first)


def trials_of(
    subject: str, features: Path, trials: Path, splits: tuple[str, ...]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean volumes of a subject's valid trials, (trials, positions) float32, and their table."""
    arrays = Arrays(features)
    table = read_table(trials, ("trial", "clip_id", "repeat", "split", "valid"))
    _row_for_row(arrays, table)
    keep = (table["split"].isin(splits) & (table["valid"] >= LEAST_VALID)).to_numpy()
    volumes = arrays["windows"][keep].mean(1, dtype=np.float32)
    return volumes, table[keep].reset_index(drop=True)


def stored(
    subjects: Sequence[str],
    features: Sequence[Path],
    trials: Sequence[Path],
    splits: tuple[str, ...],
    apart: bool = True,
) -> Stored:
    """What `load` gives with `repeats="every"`, in the same order, left on disk.

    Args:
        apart: each volume of a window is a sample of its own.

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
    """A window has as many volumes in each subject, or they could not be read alike."""
    own, other = arrays.shape("windows")[1], Arrays(first).shape("windows")[1]
    if own != other:
        wrong = f"has windows of {own} volumes, and {first} of {other}: their TRs differ"
        raise UserError(arrays.path, wrong, "set clips.window to as many volumes in both")


def grid_of(
    arrays: Arrays, before: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Voxels and affine of a file of BOLD, and coordinates where it has grayordinates.

    Raises:
        UserError: they are not those of the file `before`.
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
    """Rows of the first so many training trials, as far as `splits` holds them."""
    train = (table["split"] == "train").to_numpy()
    # runs by number: run 10 comes after run 2, and session 10 after session 2
    runs = {run: i for i, run in enumerate(sorted(set(table["run"]), key=_numbers))}
    order = table.assign(run=table["run"].map(runs))[train]
    scanned = order.sort_values(["run", "trial"], kind="stable").index[:number]
    if len(scanned) < number:
        wrong = f"holds {len(scanned)} training trials, and {number} were asked for"
        raise UserError(where, wrong, "ask for fewer minutes")
    return table.index.isin(scanned) & ("train" in splits)


def _numbers(label: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in a label as numbers."""
    parts = re.split(r"(\d+)", str(label))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def rows_of(names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Position in `names` of each of `wanted`."""
    place = {name: i for i, name in enumerate(names)}
    missing = sorted(set(wanted) - place.keys())
    if missing:
        raise UserError("clips", f"no video features of {missing[0]}", "remake the video features")
    return np.array([place[name] for name in wanted])
