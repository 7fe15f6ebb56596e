"""Retrieval: is the correct clip among the k clips whose video tokens best match the reading?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from llm4brain.errors import UserError
from llm4brain.evaluate.names import stimulus_and_onset

KS = (1, 5)
AMONG = 100  # number of candidates, without clips close to the correct one
APART = 20.0  # s; closer clips of a film are similar and therefore hard to distinguish


def correlations(
    readings: np.ndarray, truth: np.ndarray, norms: np.ndarray | None = None
) -> np.ndarray:
    """Pearson correlation over D of each reading with each clip.

    Both are coordinates (`llm4brain.align.basis.Space`): centred on the train clips' mean, since
    what all clips have in common does not identify a clip, and the test set must not be centred on
    itself; and without each row's own mean. Such rows of tokens are coordinates too (`centred`).

    Args:
        readings: shape (n, r).
        truth: shape (m, q), the candidates; with q > r, the readings are 0 on the further axes.
        norms: shape (m,), of the candidates with what lies outside the axes; by default of `truth`.

    Returns:
        Shape (n, m); a row or column without variance correlates at 0 with everything.

    Raises:
        UserError: shapes differ, or a value is not finite.
    """
    readings, truth = np.float64(readings), np.float64(truth)
    norms = np.linalg.norm(truth, axis=-1) if norms is None else np.float64(norms)
    shapes = [array.shape for array in (readings, truth, norms)]
    fit = [len(shape) for shape in shapes] == [2, 2, 1] and norms.shape == truth.shape[:1]
    if not (fit and readings.shape[1] <= truth.shape[1]):
        wrong = f"readings, truth and norms have the shapes {shapes[0]}, {shapes[1]}, {shapes[2]}"
        raise UserError("readings", wrong, "make them (clips, r), (clips, r) and (clips,)")
    if not all(np.isfinite(array).all() for array in (readings, truth, norms)):
        raise UserError("readings", "hold a value that is not finite", "decode again")
    least = 1e-6 * max(norms.max(initial=0.0), 1e-30)  # less has no direction, only rounding errors

    def unit(rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        flat = (sizes <= least)[:, None]
        return np.where(flat, 0.0, rows / np.where(flat, 1.0, sizes[:, None]))

    own = unit(readings, np.linalg.norm(readings, axis=1))
    return own @ unit(truth, norms)[:, : readings.shape[1]].T


def centred(rows: np.ndarray, centre: np.ndarray | float = 0.0) -> np.ndarray:
    """Rows (n, D) minus `centre` (D,), and minus each row's own mean, in float64."""
    rows = rows.astype(np.float64) - centre
    return rows - rows.mean(axis=1, keepdims=True)


def top_k(scores: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Credit of each row for its target among the k best: the chance under random tie-breaking.

    Ties share the credit: with `better` candidates strictly above the target and `tied` candidates
    equal to it (including itself), the credit is (k - better) / tied, clipped to 0..1. A reading
    that is the same for all n clips therefore has a mean of exactly k/n.

    Args:
        scores: shape (n, m), higher is better; compared to 9 decimals, so that equal clips tie
            regardless of the order of summation.
        target: shape (n,), index of the true candidate.
        k: number of candidates that may be named.

    Returns:
        Shape (n,), 0 to 1.
    """
    return credit(scores, k)[np.arange(len(scores)), target]


def credit(scores: np.ndarray, k: int) -> np.ndarray:
    """`top_k` for every candidate as the target: shape (n, m), 0 to 1."""
    scores = np.round(scores, 9)
    result = np.empty(scores.shape)
    for row, own in zip(result, scores, strict=True):
        ordered = np.sort(own)
        above = np.searchsorted(ordered, own, side="right")
        tied = above - np.searchsorted(ordered, own, side="left")
        row[:] = np.clip((k - (len(own) - above)) / tied, 0.0, 1.0)
    return result


def apart(clip_ids: Sequence[str], seconds: float = APART) -> np.ndarray:
    """Whether two clips are from different films or at least `seconds` apart: (n, n) bool."""
    stimuli, onsets = zip(*map(stimulus_and_onset, clip_ids), strict=True)
    same = np.array(stimuli)[:, None] == np.array(stimuli)[None]
    return ~same | (np.abs(np.subtract.outer(onsets, onsets)) >= seconds - 1e-3)


def among(scores: np.ndarray, far: np.ndarray, k: int, count: int = AMONG) -> np.ndarray:
    """Expected credit for the true clip among `count` - 1 others drawn from clips far from it.

    This is the exact expectation over all draws: the numbers of drawn clips that score better, and
    of those that tie, follow hypergeometric distributions.

    Args:
        scores: shape (n, n), reading i against the tokens of every clip.
        far: shape (n, n), from `apart`.
        k: number of candidates that may be named.

    Returns:
        Shape (n,), 0 to 1; NaN if fewer than `count` - 1 clips are far.
    """
    scores, result = np.round(scores, 9), np.full(len(scores), np.nan)
    for i, own in enumerate(scores):
        others = own[far[i] & (np.arange(len(own)) != i)]
        size, drawn = len(others), count - 1
        if size < drawn:
            continue
        better, tied = int((others > own[i]).sum()), int((others == own[i]).sum())
        total = 0.0
        # minimum number of better clips in a draw, if the other clips are too few to fill it
        for b in range(max(0, drawn - (size - better)), min(k, better + 1)):
            equal = np.arange(min(tied, drawn - b) + 1)
            share = stats.hypergeom.pmf(equal, size - better, tied, drawn - b)
            gain = np.minimum(1.0, (k - b) / (equal + 1))
            total += stats.hypergeom.pmf(b, size, better, drawn) * (share @ gain)
        result[i] = total
    return result


def chance(clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Chance level of each clip for systems without a reading: k / number of candidates, 0-100."""
    n = len(clip_ids)
    enough = apart(clip_ids).sum(axis=1) >= AMONG - 1
    found = {f"top{k}": np.full(n, 100 * min(k, n) / n) for k in KS}
    return found | {f"top{k}_{AMONG}": np.where(enough, 100 * k / AMONG, np.nan) for k in KS}


def retrieval(scores: np.ndarray, clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Credit at each clip, 0-100.

    Args:
        scores: shape (n, n), from `correlations`: row i is the reading of clip i.
        clip_ids: their names.

    Returns:
        `top<k>` among all clips, and `top<k>_100` (see `among`): shape (n,).
    """
    far = apart(clip_ids)
    found = {f"top{k}": 100 * np.diag(credit(scores, k)) for k in KS}
    return found | {f"top{k}_{AMONG}": 100 * among(scores, far, k) for k in KS}
