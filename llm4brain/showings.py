"""Repeated showings of a clip: which trials count, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from llm4brain.errors import UserError

LEAST_VALID = 0.5  # share of valid volumes that a showing needs to be counted


def first_showings(
    windows: np.ndarray, trials: pd.DataFrame, least_valid: float = LEAST_VALID
) -> tuple[np.ndarray, pd.DataFrame]:
    """Of each clip the first trial of which enough is valid; rows of both, in their order."""
    trials = trials.reset_index(drop=True)
    good = trials[trials["valid"] >= least_valid].sort_values("repeat", kind="stable")
    rows = good.drop_duplicates("clip_id").index.sort_values()
    return windows[rows.to_numpy()], trials.loc[rows].reset_index(drop=True)


def require_valid(trials: pd.DataFrame, kept: pd.DataFrame, where: object) -> None:
    """Refuse trials of a split of which `average_repeats` left none.

    Args:
        trials: before, with their split.
        kept: the table after it.
        where: for the error.

    Raises:
        UserError: the split.
    """
    if lost := sorted(set(trials["split"]) - set(kept["split"])):
        wrong = f"has no {lost[0]} trial of which {LEAST_VALID:.0%} of the volumes are valid"
        raise UserError(where, wrong, "raise bold.fd_threshold, or leave the subject out")


def by_clip(
    trials: pd.DataFrame, least_valid: float = LEAST_VALID
) -> tuple[list[np.ndarray], pd.DataFrame]:
    """The rows of each clip's trials of which enough is valid, and the table of the clips.

    Returns:
        For each clip, in order of stim_file and onset, the positions of its trials in the table;
        and a table: clip_id, stim_file, onset, split, trials (how many). A clip without a valid
        trial is in neither.
    """
    keys, columns = ["stim_file", "onset", "clip_id", "split"], ["clip_id", "stim_file", "onset"]
    good = trials.reset_index(drop=True)
    groups = list(good[good["valid"] >= least_valid].groupby(keys, sort=True))
    rows = [(key[2], key[0], key[1], key[3], len(group)) for key, group in groups]
    table = pd.DataFrame(rows, columns=[*columns, "split", "trials"])
    return [group.index.to_numpy() for _, group in groups], table


def means(
    windows: np.ndarray, groups: Sequence[np.ndarray], out: np.ndarray | None = None
) -> np.ndarray:
    """Mean over each group of rows of windows (trials, volumes, voxels): (groups, ...) float32.

    Args:
        windows: may be memory-mapped; one group is read at a time.
        out: where the means are written.
    """
    if out is None:
        out = np.empty((len(groups), *windows.shape[1:]), dtype=np.float32)
    for place, rows in zip(out, groups, strict=True):
        np.asarray(windows[rows], dtype=np.float32).mean(axis=0, out=place)
    return out


def average_repeats(
    windows: np.ndarray, trials: pd.DataFrame, least_valid: float = LEAST_VALID
) -> tuple[np.ndarray, pd.DataFrame]:
    """One window a clip: the mean over its trials of which enough is valid.

    Args:
        windows: (trials, volumes, voxels).
        trials: row for row with `windows`.
        least_valid: a trial with a smaller share of valid volumes is not counted.

    Returns:
        (clips, volumes, voxels) float32, and the table of `by_clip`, in its order.
    """
    groups, table = by_clip(trials, least_valid)
    return means(windows, groups), table
