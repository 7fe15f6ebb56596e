"""Parts of a scan besides the signal: noise, drift, motion and physiology.

Shares of the noise variance: 40% white in space (thermal), 30% smooth at 12 mm and 20% at 40 mm
(sigma; 1.5 and 5 default voxels), 10% global; all AR(1) in time.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from llm4brain.phantom.anatomy import Head

SHARES = {"white": 0.4, "fine": 0.3, "coarse": 0.2, "global": 0.1}
FINE_MM, COARSE_MM = 12.0, 40.0
AR = 0.3  # correlation of the noise of successive volumes, at TR 2 s
NOISE = 0.015  # sd of the noise, as a fraction of baseline
DRIFT = 0.01
PHYSIOLOGY = 0.012
BACKGROUND = 6.0  # sd outside the brain, scanner units
RADIUS_MM = 50.0  # radius of the head, to convert radians to mm as in framewise displacement


def smooth_noise(
    volumes: int, shape: tuple[int, int, int], sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """White noise smoothed by a Gaussian of `sigma` voxels, with unit variance everywhere.

    Uses one matrix per axis, which is much faster on small grids than filtering each volume.

    Returns:
        float32 (volumes, x, y, z).
    """
    field = rng.standard_normal((volumes, *shape), dtype=np.float32)
    for axis, length in enumerate(shape, start=1):
        apart = np.subtract.outer(np.arange(length), np.arange(length)) / sigma
        kernel = np.exp(-0.5 * apart**2)
        kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)  # rows of unit variance
        field = np.moveaxis(np.tensordot(field, kernel.astype(np.float32), (axis, 1)), -1, axis)
    return field


def autocorrelate(series: np.ndarray, correlation: float = AR) -> np.ndarray:
    """Convert white noise (volumes, ...) to stationary AR(1) noise of the same variance."""
    driven = series * np.float32(np.sqrt(1 - correlation**2))
    driven[0] = series[0]
    return lfilter([1.0], [1.0, -correlation], driven, axis=0).astype(np.float32)


def scan_noise(volumes: int, head: Head, voxel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit variance in the brain's voxels, float32 (volumes, voxels)."""
    inside = head.brain
    parts = {
        "white": rng.standard_normal((volumes, int(inside.sum())), dtype=np.float32),
        "fine": smooth_noise(volumes, head.shape, FINE_MM / voxel_mm, rng)[:, inside],
        "coarse": smooth_noise(volumes, head.shape, COARSE_MM / voxel_mm, rng)[:, inside],
        "global": rng.standard_normal((volumes, 1), dtype=np.float32),
    }
    total = sum(np.float32(np.sqrt(SHARES[name])) * part for name, part in parts.items())
    return autocorrelate(total)  # type: ignore[arg-type]


def drift(volumes: int, head: Head, voxel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Slow drift as a fraction of baseline, float32 (volumes, voxels): three smooth maps."""
    time = np.linspace(-1, 1, volumes, dtype=np.float32)
    curves = np.stack([time, time**2 - 1 / 3, np.sin(2 * time + rng.uniform(0, 6))])
    maps = smooth_noise(3, head.shape, COARSE_MM / voxel_mm, rng)[:, head.brain] + rng.normal()
    return (DRIFT * np.float32([1, 0.6, 0.5])[:, None] * curves).T.astype(np.float32) @ maps


def motion(volumes: int, rng: np.random.Generator) -> np.ndarray:
    """Head motion: slow drift and occasional jerks, from which the head partly returns.

    Returns:
        float32 (volumes, 6): translations x, y, z (mm), rotations about x, y, z (radians).
    """
    step = autocorrelate(rng.standard_normal((volumes, 6)), 0.8) * 0.02
    wander = np.cumsum(step, axis=0)
    for at in rng.integers(5, volumes, rng.poisson(1.5)) if volumes > 5 else ():
        jerk = rng.normal(0, 0.35, 6)
        wander[at] += jerk
        wander[at:] += 0.2 * jerk
    wander -= wander[0]
    wander[:, 3:] /= RADIUS_MM
    return wander.astype(np.float32)


def motion_effect(head: Head, voxel_mm: float) -> np.ndarray:
    """First-order change of the baseline image for each motion parameter.

    A voxel at r sees -grad I . (t + w x r): rank six.

    Returns:
        float32 (6, voxels), scanner units per mm and per radian.
    """
    slope = np.stack(np.gradient(head.baseline, voxel_mm), axis=-1)[head.brain]
    slope = slope @ (head.affine[:3, :3] / voxel_mm).T  # grid axes -> scanner axes
    arm = head.mm[head.brain]
    arm = arm - arm.mean(axis=0)
    return -np.hstack([slope, np.cross(arm, slope)]).T.astype(np.float32)


def physiology(volumes: int, tr: float, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Pulse and respiration, aliased, as a fraction of baseline: float32 (volumes, voxels).

    Strong in CSF, weaker in white matter, weakest in grey matter.
    """
    time = np.arange(volumes) * tr
    beats = []
    for hertz in (rng.uniform(0.9, 1.2), rng.uniform(0.22, 0.32)):
        wobble = np.cumsum(rng.normal(0, 0.15, volumes))
        beats.append(np.sin(2 * np.pi * hertz * time + wobble))
    beats.append(autocorrelate(rng.standard_normal((volumes, 1)), 0.85)[:, 0])
    tissue = 1.0 * head.fluid + 0.45 * head.white + 0.1 * head.grey
    share = tissue[head.brain][None] * rng.uniform(0.6, 1.0, (3, 1))
    return (PHYSIOLOGY * np.stack(beats, axis=1) @ share).astype(np.float32)
