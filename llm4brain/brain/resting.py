"""Windows of a pretraining cohort: drawn anywhere in its runs, since nothing was shown in them."""

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

HELD_OUT = 10  # every tenth subject validates; of a single subject, every tenth run


@dataclass(frozen=True)
class Anywhere(Stored):
    """Windows that begin anywhere in a run, drawn anew each time.

    Attributes:
        places: a row for each window that a run has room for side by side: an epoch.
        starts: of each source, the volumes at which a window of valid volumes begins.
    """

    starts: Sequence[np.ndarray] = ()

    def draw(self, samples: np.ndarray) -> np.ndarray:
        runs = self.places[samples, 0]
        firsts = [self.starts[r][np.random.randint(len(self.starts[r]))] for r in runs]
        return np.stack([runs, firsts], axis=1)


def resting_windows(files: Sequence[Path], volumes: int) -> tuple[Stored, Stored]:
    """Windows to train on and to validate by, of whole subjects (of one subject: of whole runs).

    Validation windows lie side by side and are always the same.

    Args:
        files: clean BOLD of a subject each (`data/pretraining/sub-XX.safetensors`).
        volumes: in a window.

    Raises:
        UserError: subjects lie on different voxels, or there are not two with a whole window.
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
    """Volumes at which a window of so many valid ones begins.

    >>> whole_windows(np.array([True, True, False, True, True, True]), 2)
    array([0, 3, 4], dtype=int32)
    """
    if len(valid) < volumes:
        return np.zeros(0, dtype=np.int32)
    whole = np.lib.stride_tricks.sliding_window_view(valid, volumes).all(axis=1)
    return np.flatnonzero(whole).astype(np.int32)


def side_by_side(starts: np.ndarray, volumes: int) -> np.ndarray:
    """Of these beginnings, those of windows that share no volume.

    >>> side_by_side(np.array([0, 1, 2, 3, 7]), 2)
    array([0, 2, 7])
    """
    kept = [starts[0]]
    for start in starts[1:]:
        if start >= kept[-1] + volumes:
            kept.append(start)
    return np.array(kept, dtype=starts.dtype)
