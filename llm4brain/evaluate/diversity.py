"""How much a system varies: a decoder that always says the same can score well and say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def diversity(captions: Sequence[str]) -> dict[str, float]:
    """Share of captions that differ, and of pairs of words that do (distinct-2, Li et al. 2016).

    Neither is a mean over clips, so a bootstrap, which repeats clips, gives no interval for them.

    Args:
        captions: a system's, tokenised or in plain words; letter case is ignored.

    Returns:
        `diversity` and `distinct2`, 0-100; distinct2 is 0 where no caption has two words.
    """
    said = [" ".join(caption.lower().split()) for caption in captions]
    pairs = [pair for caption in said for pair in pairwise(caption.split(" "))]
    return {
        "diversity": 100 * len(set(said)) / max(1, len(said)),
        "distinct2": 100 * len(set(pairs)) / max(1, len(pairs)),
    }
