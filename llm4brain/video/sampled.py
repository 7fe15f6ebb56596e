"""Several captions of one clip: drawn, each from a seed of its own, and folded where they agree."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)


class Drawn(LogitsProcessor):
    """Scores plus Gumbel noise: the highest of them is a draw from the scores' softmax.

    Each row draws from a generator of its own, on the CPU, so that what it says depends neither on
    the rows beside it nor on the device. Source: Maddison et al. 2014.

    Args:
        seeds: one a row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, vocabulary) -> the same."""
        width = scores.shape[-1]
        uniform = torch.stack([torch.rand(width, generator=g) for g in self._generators])
        return scores.float() - torch.log(-torch.log(uniform)).to(scores.device)


def drawing(seeds: Sequence[int], temperature: float, top_p: float) -> LogitsProcessorList:
    """What makes a greedy choice a draw, in transformers' own order.

    Args:
        temperature: below 1 the likely becomes likelier.
        top_p: only the likeliest tokens that make up this share are drawn from.
    """
    cut = [TopPLogitsWarper(top_p)] if top_p < 1 else []
    return LogitsProcessorList([TemperatureLogitsWarper(temperature), *cut, Drawn(seeds)])


def seed_of(seed: int, clip_id: str, sample: int) -> int:
    """The seed of one draw for one clip, whatever other clips and draws there are."""
    digest = hashlib.sha256(repr((seed, "caption", clip_id, sample)).encode()).digest()
    return int.from_bytes(digest[:7], "little")


def distinct(texts: Sequence[str]) -> list[str]:
    """Texts that differ in more than case, punctuation and spaces; of equals the first.

    >>> distinct(["A dog runs.", "a dog, runs", "A cat."])
    ['A dog runs.', 'A cat.']
    """
    words = [" ".join(re.findall(r"\w+", text.casefold())) for text in texts]
    return [text for i, text in enumerate(texts) if words[i] not in words[:i]]
