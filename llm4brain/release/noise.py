"""Whether a reading is nearer to what can be seen than readings of noise are.

A decoder says something of any BOLD. The null is noise of the run's own kind: stationary, with the
run's own covariances between voxels and in time (`phase_randomised`). What it does not hold are
moments unlike the rest of the run, such as a jerk of the head that the confounds left in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llm4brain.evaluate.retrieval import correlations
from llm4brain.tune.broken import phase_randomised

NOISE = 999  # windows of noise that a reading is compared with
COPIES = 10  # of the run at least: one copy of a long run is one draw of its slow phases


def noise_windows(bold: np.ndarray, span: int, number: int, seed: int) -> np.ndarray:
    """Windows (number, span, voxels) of as many phase-randomised copies of a run as it takes.

    Args:
        bold: (volumes, voxels), with `span` volumes or more.
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
    """Read windows of a run, and tell how near each reading comes to what the training saw.

    Args:
        read: windows (n, T, voxels) -> components (n, rank).
        windows: (n, T, voxels), cut from `bold`.
        bold: (volumes, voxels), the whole clean run.
        known: (clips, rank), where the train clips lie.
        seed: of the noise.

    Returns:
        components (n, rank); match (n,), correlation with the train clip nearest to it; p (n,),
        share of readings of noise that come as near to some train clip, itself counted among them:
        1 / (1 + NOISE) at the least. For noise alone each p is uniform. The p of one run share
        their noise, and windows that overlap or follow each other share their own: they are not
        independent, and nothing is corrected for how many there are.
    """
    found = read(windows)
    null = read(noise_windows(bold, windows.shape[1], NOISE, seed))
    centre = np.zeros(known.shape[1], dtype=np.float32)
    match, chance = (correlations(r, known, centre).max(axis=1) for r in (found, null))
    p = (1 + (chance[None] >= match[:, None]).sum(axis=1)) / (1 + NOISE)
    return found, match, p
