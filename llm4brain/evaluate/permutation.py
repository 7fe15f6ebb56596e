"""p values against a shuffled null: the same predictions, assigned to other clips.

Neighbouring clips of a film are similar. Whole blocks are therefore permuted, so neighbours stay
neighbours. Permuting single clips would make any slow drift significant.
"""

from __future__ import annotations

import numpy as np


def shuffles(block: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Orders of the clips in which blocks are permuted.

    Args:
        block: shape (clips,), from `llm4brain.evaluate.bootstrap.blocks`; clips in order.
        count: number of orders.
        seed: of the draws.

    Returns:
        Shape (count, clips): index of the clip whose prediction is assigned to each clip.
    """
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(block == b) for b in range(int(block.max()) + 1)]
    home = np.concatenate(parts)  # clips, block after block
    result = np.empty((count, len(block)), dtype=np.int64)
    for row in result:
        row[home] = np.concatenate([parts[b] for b in rng.permutation(len(parts))])
    return result


def shuffled_p(pairs: np.ndarray, orders: np.ndarray) -> float:
    """One-sided p of the mean over clips: fraction of orders with the same or a higher score.

    Args:
        pairs: shape (clips, clips): score of prediction i at clip j.
        orders: from `shuffles`.

    Returns:
        (1 + number of orders as high) / (1 + orders), so never 0 (Phipson & Smyth 2010).
    """
    clips = np.arange(pairs.shape[1])
    own = pairs[clips, clips].mean()
    null = pairs[orders, clips].mean(axis=1)
    return float((1 + (null >= own - 1e-9).sum()) / (1 + len(orders)))
