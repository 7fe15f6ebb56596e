"""Several captions of one clip: sampled, each with its own seed, and without duplicates."""

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
    """Add Gumbel noise to the scores: their argmax is a sample from the softmax of the scores.

    Each row has its own random generator, on the CPU, so its text depends neither on the other rows
    of the batch nor on the device. Source: Maddison et al. 2014.

    Args:
        seeds: one per row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, vocabulary) -> the same."""
        width = scores.shape[-1]
        uniform = torch.stack([torch.rand(width, generator=g) for g in self._generators])
        return scores.float() - torch.log(-torch.log(uniform)).to(scores.device)


def drawing(seeds: Sequence[int], temperature: float, top_p: float) -> LogitsProcessorList:
    """Logits processors that turn greedy decoding into sampling, in transformers' order.

    Args:
        temperature: below 1, likely tokens become likelier.
        top_p: sample only from the most likely tokens with this total probability.
    """
    cut = [TopPLogitsWarper(top_p)] if top_p < 1 else []
    return LogitsProcessorList([TemperatureLogitsWarper(temperature), *cut, Drawn(seeds)])


def seed_of(seed: int, clip_id: str, sample: int) -> int:
    """Seed for one sample of one clip, independent of other clips and samples."""
    digest = hashlib.sha256(repr((seed, "caption", clip_id, sample)).encode()).digest()
    return int.from_bytes(digest[:7], "little")


def distinct(texts: Sequence[str]) -> list[str]:
    """Drop texts that differ from an earlier one only in case, punctuation or spaces.

    >>> distinct(["A dog runs.", "a dog, runs", "A cat."])
    ['A dog runs.', 'A cat.']
    """
    words = [" ".join(re.findall(r"\w+", text.casefold())) for text in texts]
    return [text for i, text in enumerate(texts) if words[i] not in words[:i]]
