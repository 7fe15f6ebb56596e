"""Windows of a pretraining cohort, drawn from anywhere in its runs, since they have no stimulus."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4brain.brain.cohort import grid_of
from llm4brain.brain.stored import Stored
from llm4brain.errors import UserError
from llm4brain.io import Arrays

HELD_OUT = 10  # every tenth subject is held out for validation; with one subject, every tenth run


@dataclass(frozen=True)
class Anywhere(Stored):
    """Windows that start anywhere in a run and are drawn anew each time.

    Attributes:
        places: one row for each non-overlapping window that fits into a run: one epoch.
        starts: for each source, the first volumes of all windows of valid volumes.
    """

    starts: Sequence[np.ndarray] = ()

    def draw(self, samples: np.ndarray) -> np.ndarray:
        runs = self.places[samples, 0]
        firsts = [self.starts[r][np.random.randint(len(self.starts[r]))] for r in runs]
        return np.stack([runs, firsts], axis=1)


def resting_windows(files: Sequence[Path], volumes: int) -> tuple[Stored, Stored]:
    """Training and validation windows from different subjects (with one subject: different runs).

    Validation windows do not overlap and are always the same.

    Args:
        files: clean BOLD, one file per subject (`data/pretraining/sub-XX.safetensors`).
        volumes: number of volumes in a window.

    Raises:
        UserError: subjects have different voxels, or fewer than two subjects (or runs) have a whole
            window.
    """
    sources: list[tuple[Path, str]] = []
    starts: list[np.ndarray] = []
    owners: list[int] = []
    grid = None
    for number, path in enumerate(files):
        arrays = Arrays(path)
        grid = grid_of(arrays, grid)
        for label in sorted(arrays.meta["runs"]):
            begins = whole_windows(arrays[f"valid-{label}"], volumes)
            if not len(begins):
                print(f"{path} run {label}: no {volumes} valid volumes, left out", file=sys.stderr)
                continue
            sources.append((path, f"run-{label}"))
            starts.append(begins)
            owners.append(number)
    units = np.array(owners) if len(set(owners)) > 1 else np.arange(len(owners))
    names = np.unique(units)
    if len(names) < 2:
        raise UserError(
            files[0].parent, "holds fewer than two runs to learn from", "add subjects or runs"
        )
    held = names[HELD_OUT - 1 :: HELD_OUT] if len(names) >= HELD_OUT else names[-1:]
    slots = [side_by_side(begins, volumes) for begins in starts]

    def places(of: np.ndarray) -> np.ndarray:
        rows = [np.stack([np.full_like(slots[i], i), slots[i]], axis=1) for i in np.flatnonzero(of)]
        return np.concatenate(rows)

    validates = np.isin(units, held)
    train = Anywhere(sources, places(~validates), volumes, *grid, starts)
    return train, Stored(sources, places(validates), volumes, *grid)


def whole_windows(valid: np.ndarray, volumes: int) -> np.ndarray:
    """Indices at which a window of `volumes` valid volumes starts.

    >>> whole_windows(np.array([True, True, False, True, True, True]), 2)
    array([0, 3, 4], dtype=int32)
    """
    if len(valid) < volumes:
        return np.zeros(0, dtype=np.int32)
    whole = np.lib.stride_tricks.sliding_window_view(valid, volumes).all(axis=1)
    return np.flatnonzero(whole).astype(np.int32)


def side_by_side(starts: np.ndarray, volumes: int) -> np.ndarray:
    """Subset of the starts whose windows do not overlap.

    >>> side_by_side(np.array([0, 1, 2, 3, 7]), 2)
    array([0, 2, 7])
    """
    kept = [starts[0]]
    for start in starts[1:]:
        if start >= kept[-1] + volumes:
            kept.append(start)
    return np.array(kept, dtype=starts.dtype)
