"""p against the shuffled null: the same predictions, given to other clips.

Neighbouring clips of a film are alike, so whole blocks change places and neighbours stay
neighbours; the order of single clips would make every slow drift significant.
"""

from __future__ import annotations

import numpy as np


def shuffles(block: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Orders of the clips in which blocks have changed places.

    Args:
        block: shape (clips,), from `llm4brain.evaluate.bootstrap.blocks`; clips in their order.
        count: how many orders.
        seed: of the draws.

    Returns:
        Shape (count, clips): which clip's prediction is given to each clip.
    """
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(block == b) for b in range(int(block.max()) + 1)]
    home = np.concatenate(parts)  # clips, block after block
    result = np.empty((count, len(block)), dtype=np.int64)
    for row in result:
        row[home] = np.concatenate([parts[b] for b in rng.permutation(len(parts))])
    return result


def shuffled_p(pairs: np.ndarray, orders: np.ndarray) -> float:
    """One-sided p of the mean over clips: share of orders that score as high or higher.

    Args:
        pairs: shape (clips, clips): what prediction i scores at clip j.
        orders: from `shuffles`.

    Returns:
        (1 + number as high) / (1 + orders), so never 0 (Phipson & Smyth 2010).
    """
    clips = np.arange(pairs.shape[1])
    own = pairs[clips, clips].mean()
    null = pairs[orders, clips].mean(axis=1)
    return float((1 + (null >= own - 1e-9).sum()) / (1 + len(orders)))
