"""Retrieval: is the clip that was seen among the k whose video tokens fit the reading best?"""

from __future__ import annotations

import numpy as np

from llm4brain.errors import UserError

KS = (1, 5)


def correlations(readings: np.ndarray, truth: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Pearson correlation of each centred reading with each centred clip.

    Args:
        readings: shape (n, D), in the space of the video tokens.
        truth: shape (m, D), the candidates' own video tokens.
        centre: shape (D,), mean video tokens of the train clips: all that clips have in common
            says nothing of which clip it was, and the test set is not to centre itself.

    Returns:
        Shape (n, m); a row or column without variance correlates at 0 with everything.

    Raises:
        UserError: shapes differ, or a value is not finite.
    """
    if not readings.shape[1:] == truth.shape[1:] == centre.shape or readings.ndim != 2:
        shapes = f"{readings.shape}, {truth.shape} and {centre.shape}"
        wrong = f"readings, truth and centre have the shapes {shapes}"
        raise UserError("readings", wrong, "make them all (clips, D), centre (D,)")
    if not all(np.isfinite(array).all() for array in (readings, truth, centre)):
        raise UserError("readings", "hold a value that is not finite", "decode again")

    def unit(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float64)
        size = np.abs(rows).max()
        rows = rows - centre
        rows -= rows.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        # what rounding leaves of a reading equal to the centre is no direction
        flat = norm <= 1e-6 * max(size, 1e-30) * np.sqrt(rows.shape[1])
        return np.where(flat, 0.0, rows / np.where(flat, 1.0, norm))

    return unit(readings) @ unit(truth).T


def top_k(scores: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Credit of each row for its target among the k best: the chance under random tie-breaking.

    Ties share: with `better` candidates strictly above the target and `tied` level with it (it
    among them), the credit is (k - better) / tied, cut to 0..1. So any reading that is the same
    for all n clips has a mean of exactly k/n.

    Args:
        scores: shape (n, m), higher fits better; compared to 9 decimals, so that equal clips tie
            whatever the order of summation.
        target: shape (n,), index of the true candidate.
        k: how many may be named.

    Returns:
        Shape (n,), 0 to 1.
    """
    scores = np.round(scores, 9)
    own = scores[np.arange(len(scores)), target][:, None]
    better = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    return np.clip((k - better) / tied, 0.0, 1.0)


def chance(n: int) -> dict[str, np.ndarray]:
    """What a system without a reading gets at each of n clips: k/n, 0-100."""
    return {f"top{k}": np.full(n, 100 * min(k, n) / n) for k in KS}


def retrieval(readings: np.ndarray, truth: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
    """Credit at each clip, 0-100, with all test clips as candidates.

    Args:
        readings: shape (n, D), row i for clip i.
        truth: shape (n, D).
        centre: shape (D,).

    Returns:
        `top<k>` -> shape (n,).
    """
    scores = correlations(readings, truth, centre)
    return {f"top{k}": 100 * top_k(scores, np.arange(len(truth)), k) for k in KS}
