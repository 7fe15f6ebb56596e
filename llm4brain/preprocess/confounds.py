"""The confounds of a run, under fMRIPrep's column names."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.fft import dct

from llm4brain.preprocess.grid import Grid
from llm4brain.preprocess.motion import displacement

CUTOFF = 128.0  # s, fMRIPrep's high-pass


def expand(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each column with its derivative and their squares: fMRIPrep's four of a name."""
    table = {}
    for name, values in columns.items():
        slope = np.concatenate([[np.nan], np.diff(values)])
        table[name] = values
        table[f"{name}_derivative1"] = slope
        table[f"{name}_power2"] = values**2
        table[f"{name}_derivative1_power2"] = slope**2
    return table


def cosines(volumes: int, tr: float, cutoff: float = CUTOFF) -> np.ndarray:
    """Slow cosines, (volumes, k), down to periods of `cutoff` s; the constant is left out."""
    count = int(np.floor(2 * volumes * tr / cutoff))
    basis = dct(np.eye(volumes), norm="ortho", axis=0).T  # (volumes, frequencies)
    return basis[:, 1 : count + 1]


def non_steady(signal: np.ndarray) -> int:
    """How many leading volumes are not yet in steady state.

    Leading outliers of the global signal among the first 50 volumes, by a modified z above 3.5
    (Iglewicz and Hoaglin 1993), as fMRIPrep counts them.
    """
    head = signal[:50]
    away = np.abs(head - np.median(head))
    typical = np.median(away)
    outlier = 0.6745 * away > 3.5 * typical
    return int(np.argmin(outlier)) if typical > 0 and not outlier.all() else 0


def dvars(signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DVARS and its standardised form (Nichols 2013), each (time,), the first NaN.

    Args:
        signals: (time, voxels) of the brain.
    """
    change = np.diff(signals, axis=0)
    raw = np.sqrt(np.mean(change**2, axis=1))
    low, high = np.percentile(signals, [25, 75], axis=0)
    centred = signals - signals.mean(axis=0)
    power = np.maximum((centred**2).sum(axis=0), np.finfo(float).tiny)
    ar1 = (centred[1:] * centred[:-1]).sum(axis=0) / power
    expected = (np.sqrt(np.maximum(2 * (1 - ar1), 0)) * (high - low) / 1.349).mean()
    first = [np.nan]
    return np.concatenate([first, raw]), np.concatenate([first, raw / max(expected, 1e-12)])


def table(bold: np.ndarray, motion: np.ndarray, grid: Grid, brain: np.ndarray, tr: float):
    """All confounds of a run.

    Args:
        bold: (x, y, z, time) on `grid`.
        motion: (time, 6) mm and radians.
        brain: (x, y, z) bool, voxels of the brain that the run covers.
        tr: s.

    Returns:
        A table of one row a volume, with the columns that nilearn's `load_confounds` reads for
        its strategy `simple`, and framewise_displacement, dvars, std_dvars, global_signal and
        non_steady_state_outlierNN.
    """
    signals = bold[brain].T.astype(np.float64)  # (time, voxels)
    means = {"global_signal": signals.mean(axis=1)}
    for name, tissue in (("csf", grid.csf), ("white_matter", grid.white)):
        inside = (tissue & brain)[brain]
        means[name] = signals[:, inside if inside.any() else slice(None)].mean(axis=1)
    names = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
    columns = expand(means)
    columns["dvars"], columns["std_dvars"] = dvars(signals)
    columns["framewise_displacement"] = displacement(motion)
    slow = cosines(len(motion), tr)
    columns |= {f"cosine{k:02d}": slow[:, k] for k in range(slow.shape[1])}
    for k in range(non_steady(means["global_signal"])):
        columns[f"non_steady_state_outlier{k:02d}"] = (np.arange(len(motion)) == k).astype(int)
    columns |= expand({name: motion[:, k] for k, name in enumerate(names)})
    return pd.DataFrame(columns)
