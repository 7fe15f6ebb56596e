"""Checks of maps and lags against the ground truth of the phantom.

These checks are only possible for the phantom. Every value is computed from the results files, and
fixed rules below decide whether a check holds. The table is for people and tests; no decoding step
reads it, or the ground truth.

The null distribution of a map comes from shifting the planted region: it is placed elsewhere in the
brain, at every shift of the grid by at least the width of the region that keeps half of it in the
brain. This null has the smoothness and the symmetry of the map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage, signal, stats

from llm4brain.clips import window_volumes
from llm4brain.errors import UserError
from llm4brain.io import Arrays
from llm4brain.phantom.anatomy import template
from llm4brain.phantom.grammar import ATTRIBUTES
from llm4brain.phantom.tuning import RADIUS_MM
from llm4brain.preprocess.grid import mni_grid
from llm4brain.sections import ClipSettings

COLUMNS = ("check", "subject", "value", "null_low", "null_high", "expected", "holds", "data")
COLUMNS += ("what",)
TUNED = 0.2  # response above which the simulation treats a voxel as tuned (make_subject)
CERTAIN = 0.95  # minimum fraction of suprathreshold voxels that must lie in planted regions


def planted(truth: Arrays, affine: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Which voxels of the shared grid are tuned to which attribute in this subject.

    Args:
        truth: `data/truth/sub-XX.safetensors`.
        affine: (4, 4) of the shared grid.
        shape: of the shared grid.

    Returns:
        attribute -> (x, y, z) bool: voxels whose tuning at the centre exceeds `TUNED`.
    """
    index = np.stack(np.indices(shape), axis=-1)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    tuning, places = truth["tuning"], tuple(truth["tuning_voxels"].T)
    found: dict[str, np.ndarray] = {}
    for column, (attribute, _) in zip(tuning.T, truth.meta["features"], strict=True):
        volume = np.zeros(truth["regions"].shape, dtype=np.float32)
        volume[places] = column
        tuned = np.abs(template().sample(volume, mm)) > TUNED
        found[attribute] = found.get(attribute, False) | tuned
    return found


def moved(region: np.ndarray, values: np.ndarray, brain: np.ndarray, least: int):
    """Sum of `values` over a region, at its place and at every allowed shift.

    Args:
        region: (x, y, z) bool, within `brain`.
        values: (x, y, z), ranks or counts; 0 outside the brain.
        brain: (x, y, z) bool.
        least: minimum shift along an axis, in voxels.

    Returns:
        the sum in place; the sums at the shifts (shifts,), and the number of region voxels in the
        brain there (shifts,), at least half of the region.
    """
    mask = region.astype(float)
    # rounded: sums of ranks and counts are multiples of 0.5, which the FFT leaves inexact
    sums = signal.correlate(values.astype(float), mask, "full", "fft").round(3).ravel()
    sizes = signal.correlate(brain.astype(float), mask, "full", "fft").round().ravel()
    shift = np.stack(np.indices([2 * n - 1 for n in region.shape])).reshape(3, -1)
    away = np.abs(shift - np.array(region.shape)[:, None] + 1).max(axis=0) >= least
    kept = away & (sizes >= region.sum() / 2)
    return float(values[region].sum()), sums[kept], sizes[kept].astype(int)


def auc(values: np.ndarray, region: np.ndarray, brain: np.ndarray, least: int):
    """Area under the ROC curve of a map for a region against the rest of the brain.

    Returns:
        the area, and the areas of the shifted region (shifts,).
    """
    ranks = np.zeros(values.shape)
    ranks[brain] = stats.rankdata(values[brain])
    total, totals, sizes = moved(region, ranks, brain, least)

    def area(ranked, inside):  # Mann-Whitney U
        return (ranked - inside * (inside + 1) / 2) / (inside * (brain.sum() - inside))

    return float(area(total, region.sum())), area(totals, sizes)


def dice(values: np.ndarray, region: np.ndarray, brain: np.ndarray, least: int):
    """Dice of the region and as many of the highest voxels; also for the shifted region."""
    highest = np.zeros(values.shape)
    lowest_first = np.argwhere(brain)[np.argsort(values[brain], kind="stable")]
    highest[tuple(lowest_first[-region.sum() :].T)] = 1
    total, totals, sizes = moved(region, highest, brain, least)
    return total / region.sum(), 2 * totals / (region.sum() + sizes)


def map_checks(
    contribution: nib.Nifti1Image,
    z: nib.Nifti1Image,
    about: Mapping[str, Any],
    truth: Arrays,
) -> list[dict[str, Any]]:
    """Rows that check whether the map agrees with the subject's tuning.

    Args:
        contribution: map.nii.gz.
        z: map_z.nii.gz.
        about: map.json.
        truth: `data/truth/sub-XX.safetensors`.

    Raises:
        UserError: the map is not on the shared grid.
    """
    values, size = contribution.get_fdata(), float(contribution.header.get_zooms()[0])
    grid = mni_grid(round(size))
    if values.shape != grid.shape or not np.allclose(contribution.affine, grid.affine):
        raise UserError("map.nii.gz", "does not lie on the shared grid", "make the map again")
    brain, least = grid.brain, int(np.ceil(2 * RADIUS_MM / size))
    found = planted(truth, grid.affine, grid.shape)
    tuned = {name: region & brain for name, region in found.items()}
    every = np.logical_or.reduce(list(tuned.values()))
    rows = []

    def compare(check: str, found: tuple[float, np.ndarray], what: str) -> None:
        low, high = np.quantile(found[1], [0.025, 0.975])
        row = {"check": check, "value": found[0], "null_low": low, "null_high": high}
        rows.append(row | {"expected": "above null_high", "holds": found[0] > high, "what": what})

    compare(
        "map_auc",
        auc(values, every, brain, least),
        f"ROC area of the map for the {every.sum()} planted voxels of {brain.sum()}; null: the "
        "planted region laid elsewhere",
    )
    compare(
        "map_dice",
        dice(values, every, brain, least),
        "overlap (Dice) of the planted voxels and as many of the map's highest; null as above",
    )
    for name, region in tuned.items():
        untold = "" if name in ATTRIBUTES else "; no caption tells of it, a decoder may leave it"
        compare(
            f"map_auc_{name}",
            auc(values, region, brain, least),
            f"ROC area for the {region.sum()} voxels tuned to {name}, against the rest of the "
            f"brain; null as above{untold}",
        )

    near = ndimage.binary_dilation(every, np.ones((3, 3, 3)))
    beyond = brain & (z.get_fdata() > about["threshold"])
    share = float(near[beyond].mean()) if beyond.any() else float("nan")
    hits = int(near[beyond].sum())
    rows.append({
        "check": "map_certain",
        "value": share,
        "null_low": float("nan"),
        "null_high": float(near[brain].mean()),
        "expected": f"at least {CERTAIN:g}",
        # a few voxels may all lie there by chance
        "holds": share >= CERTAIN
        and stats.binomtest(hits, int(beyond.sum()), float(near[brain].mean())).pvalue < 0.05,
        "what": f"of the {beyond.sum()} voxels above the map's threshold, the share that is "
        "planted or touches a planted voxel; null: that share of the brain",
    })  # fmt: skip
    return rows


def gate_check(gate: nib.Nifti1Image, truth: Arrays) -> dict[str, Any]:
    """The row that checks whether the agreement gate is high in tuned voxels.

    Args:
        gate: gate.nii.gz, of all subjects.
        truth: `data/truth/sub-XX.safetensors`.
    """
    values, size = gate.get_fdata(), float(gate.header.get_zooms()[0])
    grid = mni_grid(round(size))
    regions = planted(truth, grid.affine, grid.shape).values()
    every = np.logical_or.reduce(list(regions)) & grid.brain
    area, null = auc(values, every, grid.brain, int(np.ceil(2 * RADIUS_MM / size)))
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "check": "gate_auc", "value": area, "null_low": low, "null_high": high,
        "expected": "above null_high", "holds": area > high,
        "what": f"ROC area of the agreement gate, learned without captions, for the {every.sum()} "
        "planted voxels; null: the planted region laid elsewhere",
    }  # fmt: skip


def lag_checks(sweep: pd.DataFrame, truth: Arrays, clips: ClipSettings) -> list[dict[str, Any]]:
    """Rows that check whether the lag sweep peaks at the planted lag and is at chance before it.

    Args:
        sweep: lag.csv.
        truth: `data/truth/sub-XX.safetensors`.
        clips: `lag` and `window` (s).
    """
    tr = truth.meta["settings"]["tr"]
    span = (window_volumes(clips.window, tr) - 1) * tr  # first to last volume of a window
    expected = truth.meta["best_lag"] - span / 2
    found = float(sweep.loc[sweep["match"].idxmax(), "lag"])
    step = float(np.diff(np.sort(sweep["lag"])).min())
    before = sweep[sweep["lag"] + span < 0]
    lowest, chance = float(before["top1_low"].max()), float(before["chance"].max())
    none = {"null_low": float("nan"), "null_high": float("nan")}
    return [
        none
        | {
            "check": "lag_peak",
            "value": found,
            "expected": f"{expected:.1f} +- {step:g}",
            "holds": abs(found - expected) <= step,
            "what": "lag (s) of the window that matches its clip best; expected: the window whose "
            "middle is the planted height of the response, to a step of the sweep. The model was "
            f"trained on windows at {clips.lag:g} s",
        },
        none
        | {
            "check": "lag_before",
            "value": lowest,
            "null_high": chance,
            "expected": "not above null_high",
            "holds": lowest <= chance if np.isfinite(lowest) else None,
            "what": f"highest lower end of top-1 (%) at the {len(before)} lags whose window lies "
            "before the clip; null: chance",
        },
    ]


def table(rows: Mapping[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """Rows of all subjects, check by check.

    Args:
        rows: subject -> rows of `map_checks` and `lag_checks`.

    Returns:
        `COLUMNS`; `holds` is yes, no, or n/a if the check has no criterion; `data` is simulated.
    """
    names = [row["check"] for row in next(iter(rows.values()))]
    every = [
        row
        | {
            "subject": s,
            "data": "simulated",
            "holds": _said(row["holds"]),
        }
        for name in names
        for s, own in rows.items()
        for row in own
        if row["check"] == name
    ]
    return pd.DataFrame(every, columns=list(COLUMNS))


def _said(holds: bool | None) -> str:
    if holds is None:
        return "n/a"
    return "yes" if holds else "no"
