"""Derivatives -> clean BOLD on the shared grid: confounds out, detrended, z-scored run by run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nilearn import signal
from nilearn.interfaces.fmriprep import load_confounds
from numpy.polynomial import Legendre
from scipy import ndimage

from llm4brain.errors import UserError, warn
from llm4brain.io import read_table
from llm4brain.preprocess.confounds import cosines
from llm4brain.preprocess.grid import Grid
from llm4brain.sections import BoldSettings

STRATEGIES: dict[str, dict[str, Any]] = {
    # nilearn's preset `simple`: 24 motion, white matter, CSF, cosines
    "simple": {"strategy": ("high_pass", "motion", "wm_csf"), "motion": "full", "wm_csf": "basic"},
    "motion": {"strategy": ("high_pass", "motion"), "motion": "full"},
    "none": {"strategy": ("high_pass",)},
}
POLYNOMIAL = 4  # order, of bold.confounds: polynomial
LEAST_COVER = 0.5
LEAST_FREEDOM, FEW = 3, 10  # degrees of freedom: fewer are refused, and warned of
USED = ("framewise_displacement", "non_steady_state", "trans_", "rot_", "csf", "white_matter")
USED += ("cosine",)  # how names of the confounds begin that are read


def on_grid(
    path: Path, data: np.ndarray, affine: np.ndarray, mask: np.ndarray, grid: Grid
) -> np.ndarray:
    """A run's voxels on the shared grid.

    Finer data are averaged over about a shared voxel (a Gaussian of that width over the run's own
    brain mask), then read by linear interpolation; data on the shared grid are taken as they are.

    Args:
        path: of the data, for errors.
        data: (x, y, z, time).
        affine: (4, 4) of `data`.
        mask: (x, y, z) bool, the run's own brain.

    Returns:
        (time, voxels), zero where the run's own brain mask does not reach.

    Raises:
        UserError: less than half of the shared brain lies in the run's own.
    """
    index = np.linalg.inv(affine) @ grid.affine  # shared voxel -> voxel of the run
    at = index[:3, :3] @ grid.voxels.T + index[:3, 3:]  # (3, voxels)
    nearest = np.rint(at).astype(int)
    same = np.allclose(index[:3, :3], np.eye(3), atol=1e-3) and np.allclose(at, nearest, atol=1e-3)
    if same:
        inside = ((nearest >= 0) & (nearest < np.array(mask.shape)[:, None])).all(axis=0)
        rows = tuple(np.where(inside, nearest, 0))
        weight = mask[rows] & inside
        signals = np.where(weight[:, None], data[rows], 0).T
    else:
        wide = np.linalg.norm(grid.affine[:3, :3], axis=0).mean()
        own = np.linalg.norm(affine[:3, :3], axis=0)
        # Gaussian whose full width at half maximum is a shared voxel; none for data as coarse
        sigma = np.sqrt(np.maximum(wide**2 - own**2, 0)) / own / 2.355
        soft = _read(ndimage.gaussian_filter(mask.astype(np.float32), sigma), at)
        weight = soft > 0.2
        signals = np.zeros((data.shape[3], at.shape[1]), dtype=np.float32)
        for k in range(data.shape[3]):
            volume = ndimage.gaussian_filter(np.where(mask, data[..., k], 0), sigma)
            signals[k, weight] = _read(volume, at[:, weight]) / soft[weight]
    if weight.mean() < LEAST_COVER:
        raise UserError(
            path,
            f"covers {weight.mean():.0%} of the MNI brain",
            "correct bold.space, or leave the run out",
        )
    return signals


def _read(volume: np.ndarray, at: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(volume, at, order=1, mode="constant")


def read_confounds(path: Path, volumes: int) -> pd.DataFrame:
    """A run's confounds as they stand.

    Raises:
        UserError: no table, not one row a volume, or a value that is not a number.
    """
    table = read_table(path, ("framewise_displacement",))
    for name in (name for name in table if name.startswith(USED)):
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = np.flatnonzero((values.isna() & table[name].notna()) | np.isinf(values))
        if len(wrong):
            found = str(table[name].iloc[wrong[0]])
            raise UserError(
                path,
                f"row {wrong[0] + 2} has {name} {found!r}, which is not a number",
                "write it as 0.5, or run preprocessing of this run again",
            )
    if len(table) != volumes:
        raise UserError(
            path,
            f"has {len(table)} rows for {volumes} volumes of BOLD",
            "run preprocessing of this run again",
        )
    return table


def valid_volumes(table: pd.DataFrame, threshold: float) -> np.ndarray:
    """Which volumes count: in steady state and, by framewise displacement, not just moved.

    Args:
        table: confounds, one row a volume.
        threshold: mm.

    Returns:
        (time,) bool. Invalid volumes are marked, never deleted, so that films stay in step.
    """
    moved = table["framewise_displacement"].astype(float).fillna(0) > threshold
    return ~(moved.to_numpy() | (_non_steady(table) > 0).any(axis=1))


def _non_steady(table: pd.DataFrame) -> np.ndarray:
    return table.filter(like="non_steady_state").to_numpy(dtype=float)


def polynomials(volumes: int, order: int = POLYNOMIAL) -> pd.DataFrame:
    """Legendre polynomials over a run, (volumes, order - 1), from the second order on.

    The straight line is `clean_run`'s detrending already; a second one would be all rounding.
    """
    time = np.linspace(-1, 1, volumes)
    return pd.DataFrame({f"polynomial{k}": Legendre.basis(k)(time) for k in range(2, order + 1)})


def regressors(path: Path, bold: Path, table: pd.DataFrame, strategy: str) -> pd.DataFrame:
    """The confounds that are taken out, (time, k), through nilearn's `load_confounds`.

    The strategy `polynomial` reads none: drift alone goes, as a polynomial.

    Raises:
        UserError: a column of the strategy is missing, or holds NaN after the first row.
    """
    try:
        if strategy == "polynomial":
            chosen = polynomials(len(table))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                chosen, _ = load_confounds(str(bold), demean=True, **STRATEGIES[strategy])
    except ValueError as error:
        raise UserError(
            path,
            f"lacks what bold.confounds: {strategy} needs ({error})",
            "run preprocessing again, or set bold.confounds to motion or none",
        ) from None
    # nilearn's column order follows string hashes; sorted, sums of floats repeat bit for bit
    chosen = pd.DataFrame() if chosen is None else chosen[sorted(chosen.columns)]
    if chosen.isna().to_numpy().any():
        column = chosen.columns[chosen.isna().any()][0]
        raise UserError(
            path, f"holds n/a below the first row of {column}", "run preprocessing of it again"
        )
    # a regressor for each volume before steady state, so that it bends no trend
    for k, spike in enumerate(_non_steady(table).T):
        chosen[f"non_steady_state_outlier{k:02d}"] = spike
    return chosen


def check_freedom(
    path: Path, chosen: pd.DataFrame, volumes: int, tr: float, settings: BoldSettings
) -> None:
    """Refuse a run of which cleaning leaves too little: rounding noise, scaled to deviation 1.

    Args:
        path: of the run, for errors.
        chosen: (time, k) regressors; the mean, a straight line and, where none is among them,
            the high-pass's cosines go besides.

    Raises:
        UserError: fewer degrees of freedom than `LEAST_FREEDOM`; below `FEW` a warning is given.
    """
    gone = [np.ones(volumes), np.linspace(-1, 1, volumes), *chosen.to_numpy().T]
    if not _filtered(chosen):
        gone += list(cosines(volumes, tr, 1 / settings.high_pass).T)
    spread = np.column_stack(gone)
    spread = spread / np.maximum(np.linalg.norm(spread, axis=0), np.finfo(float).tiny)
    rank = int(np.linalg.matrix_rank(spread))
    said = f"has {volumes} volumes, and cleaning takes {rank} degrees of freedom: {volumes - rank}"
    if volumes - rank < LEAST_FREEDOM:
        raise UserError(
            path,
            f"{said} are left, {LEAST_FREEDOM} are needed",
            "set bold.confounds to motion or none, or leave the run out",
        )
    if volumes - rank < FEW:
        warn(f"{path}: {said} are left, which is little to read from")


def _filtered(chosen: pd.DataFrame) -> bool:
    """Whether the regressors hold a high-pass."""
    return any(name.startswith(("cosine", "polynomial")) for name in chosen.columns)


def clean_run(
    signals: np.ndarray, chosen: pd.DataFrame, tr: float, settings: BoldSettings
) -> np.ndarray:
    """Detrend, regress confounds out, z-score: one run at a time.

    Args:
        signals: (time, voxels).
        chosen: (time, k) regressors. Where cosines or polynomials are among them they are the
            high-pass and no second filter follows; else `settings.high_pass` (Hz) is put in as
            cosines.

    Returns:
        (time, voxels) float32, mean 0 and standard deviation 1; 0 in voxels without signal.
    """
    filtered = _filtered(chosen)
    constant = np.ptp(signals, axis=0) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cleaned = signal.clean(
            signals.astype(np.float64),
            confounds=chosen.to_numpy() if len(chosen.columns) else None,
            detrend=True,
            standardize="zscore_sample",
            filter=False if filtered else "cosine",
            high_pass=None if filtered else settings.high_pass,
            t_r=tr,
        )
    cleaned[:, constant] = 0
    return cleaned.astype(np.float32)
