"""Diversity of captions: a decoder that always gives the same caption can still score well."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def diversity(captions: Sequence[str]) -> dict[str, float]:
    """Fractions of distinct captions and of distinct word pairs (distinct-2, Li et al. 2016).

    Neither is a mean over clips. A bootstrap repeats clips, so it gives no interval for them.

    Args:
        captions: of a system, tokenised or plain; case is ignored.

    Returns:
        `diversity` and `distinct2`, 0-100; distinct2 is 0 if no caption has two words.
    """
    said = [" ".join(caption.lower().split()) for caption in captions]
    pairs = [pair for caption in said for pair in pairwise(caption.split(" "))]
    return {
        "diversity": 100 * len(set(said)) / max(1, len(said)),
        "distinct2": 100 * len(set(pairs)) / max(1, len(pairs)),
    }
