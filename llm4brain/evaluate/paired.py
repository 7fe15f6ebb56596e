"""Paired differences between systems, clip by clip, which two separate intervals cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks, interval, resample
from llm4brain.evaluate.names import COMPARED

COLUMNS = ("subject", "system", "other", "metric", "difference", "low", "high")


def lead(
    predictions: Mapping[str, pd.DataFrame],
    subject: str,
    seconds: float,
    samples: int,
    seed: int,
    system: str = "model",
    permutations: int = 0,
) -> pd.DataFrame:
    """Mean difference between the system and each other one, with 95% intervals.

    All systems use the same resamples.

    Args:
        predictions: system -> predictions of one subject: clip_id and the main metrics.
        subject: label.
        seconds: length of the resampled blocks.
        samples: number of resamples.
        seed: of the resamples.
        system: the system that is compared with the others.
        permutations: of `sign_flip_p`; 0: no p.

    Returns:
        One row per other system and metric, `COLUMNS`, and `p` if requested. Systems without a
        value have no row.

    Raises:
        UserError: two systems have different clips.
    """
    own = predictions[system]
    clip_ids = own["clip_id"].tolist()
    block = blocks(clip_ids, seconds)
    weights = resample(block, samples, seed)
    total = weights.sum(axis=1)
    rows = []
    for name in sorted(set(predictions) - {system}):
        table = predictions[name].set_index("clip_id")
        if sorted(table.index) != sorted(clip_ids):
            wrong = f"{name} and {system} of subject {subject} are not of the same clips"
            raise UserError("predictions", wrong, "decode both again")
        table = table.loc[clip_ids]
        for metric in COMPARED:
            apart = own[metric].to_numpy(float) - table[metric].to_numpy(float)
            if not np.isfinite(apart).all():
                continue
            low, high = interval(weights @ apart / total, int(block.max()) + 1)
            p = [sign_flip_p(apart, block, permutations, seed)] * bool(permutations)
            rows.append((subject, system, name, metric, apart.mean(), low, high, *p))
    return pd.DataFrame(rows, columns=[*COLUMNS, *["p"] * bool(permutations)])


def sign_flip_p(apart: np.ndarray, block: np.ndarray, permutations: int, seed: int) -> float:
    """Two-sided p of a mean difference, on the blocks of its interval.

    If two systems are equally good, they are exchangeable in every block. Exchanging them flips the
    sign of the block's summed difference D_b.

    Args:
        apart: shape (clips,), values of one system minus those of the other.
        block: shape (clips,), from `llm4brain.evaluate.bootstrap.blocks`.
        permutations: number of sets of signs to draw.

    Returns:
        (1 + number of draws with |sum s_b D_b| >= |sum D_b|) / (1 + draws), so never 0 (Phipson
        & Smyth 2010).
    """
    sums = np.bincount(block, weights=apart)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (permutations, len(sums)))
    as_far = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    return float((1 + as_far.sum()) / (1 + permutations))


def holm(p: Sequence[float]) -> np.ndarray:
    """p values of a family of comparisons, corrected for multiple comparisons (Holm 1979).

    The i-th smallest of m values, i = 0 .. m - 1, becomes the maximum of (m - j) p_j over j <= i,
    at most 1. NaN values are not part of the family and are kept.

    >>> holm([0.01, float("nan"), 0.04, 0.03]).tolist()
    [0.03, nan, 0.06, 0.06]
    """
    found = np.array(p, dtype=float)
    known = np.flatnonzero(np.isfinite(found))
    order = known[np.argsort(found[known], kind="stable")]
    steps = found[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return found
