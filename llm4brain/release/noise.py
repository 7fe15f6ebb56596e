"""Test whether a prediction is closer to the train clips than predictions from noise are.

The decoder always produces a caption, even for noise. The null is stationary noise with the run's
own spatial and temporal covariance (`phase_randomised`). It does not include transients, such as
head motion that the confound regression did not remove.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llm4brain.evaluate.retrieval import centred, correlations
from llm4brain.tune.null_inputs import phase_randomised

NOISE = 999  # number of noise windows in the null distribution
COPIES = 10  # minimum number of surrogates: one of a long run is one draw of its slow phases


def noise_windows(bold: np.ndarray, span: int, number: int, seed: int) -> np.ndarray:
    """Windows (number, span, voxels) from as many phase-randomised copies of a run as needed.

    Args:
        bold: (volumes, voxels), with at least `span` volumes.
    """
    each = min(len(bold) - span + 1, -(-number // COPIES))
    starts = np.linspace(0, len(bold) - span, each).astype(int)
    found: list[np.ndarray] = []
    while len(found) < number:
        turned = phase_randomised(bold, (seed, len(found)))
        found += [turned[k : k + span] for k in starts]
    return np.stack(found[:number])


def against_noise(
    read: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    bold: np.ndarray,
    known: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict from windows of a run, and compare each prediction's match to train clips with noise.

    Args:
        read: windows (n, T, voxels) -> components (n, rank).
        windows: (n, T, voxels), cut from `bold`.
        bold: (volumes, voxels), the whole clean run.
        known: (clips, rank), components of the train clips.
        seed: of the noise.

    Returns:
        components (n, rank); match (n,), correlation with the nearest train clip; p (n,), the
        fraction of noise predictions that come as close to a train clip, with the prediction itself
        counted among them, so its minimum is 1 / (1 + NOISE). Under the null, each p is uniform.
        The p-values of one run share the same noise windows, and overlapping or adjacent windows
        share their own noise, so they are not independent. They are not corrected for multiple
        comparisons.
    """
    found = read(windows)
    null = read(noise_windows(bold, windows.shape[1], NOISE, seed))
    clips = centred(known)
    match, chance = (correlations(centred(r), clips).max(axis=1) for r in (found, null))
    p = (1 + (chance[None] >= match[:, None]).sum(axis=1)) / (1 + NOISE)
    return found, match, p
