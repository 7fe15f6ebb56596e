"""A step's samples shared out: over batches one after another, and over processes side by side.

The gradient of a step is that of its samples together, however they are shared out. With L_s the
mean loss of a share and w_s what it is a mean over (masked voxels, answer tokens, samples),

    grad L = sum_s (w_s / sum w) grad L_s

A mean over shares would count a short caption's tokens for more than a long one's. A contrastive
loss has no such sum: there a share's samples are compared among themselves alone, so accumulating
averages smaller comparisons, and `batch_size` is what says how many negatives there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

Columns = tuple[Any, ...]  # arrays or tensors, a row of each a sample


def share_out(
    columns: Columns, batch_size: int, weigh: Callable[..., float], accelerator: Accelerator
) -> Iterator[tuple[Columns, float]]:
    """This process's shares of a step's samples, each with its weight w_s / sum w.

    Args:
        columns: what all samples of the step are read by, the same in every process.
        batch_size: samples that all processes hold at once.
        weigh: columns -> what their loss is a mean over; adds up over shares.
    """
    samples, processes = len(columns[0]), accelerator.num_processes
    if samples <= batch_size and processes == 1:
        yield columns, 1.0
        return
    total = float(weigh(*columns))
    for first in range(0, samples, batch_size):
        batch = np.arange(first, min(first + batch_size, samples))
        rows = np.array_split(batch, processes)[accelerator.process_index]
        # One without a share goes through the motions, for its gradients are asked for.
        own = tuple(column[rows if len(rows) else [first]] for column in columns)
        yield own, float(weigh(*own)) / total if len(rows) else 0.0


@contextmanager
def apart(accelerator: Accelerator, seed: int) -> Iterator[None]:
    """Dropout of each process by itself; what all draw alike afterwards does not depend on it."""
    several = accelerator.num_processes > 1
    with torch.random.fork_rng(devices=[], enabled=several):
        if several:
            torch.manual_seed(seed + accelerator.process_index)
        yield


def sum_gradients(parameters: Iterable[Tensor], accelerator: Accelerator) -> None:
    """Each process's gradients become the sum over all processes."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, reduction="sum")


def sum_terms(terms: dict[str, float]) -> dict[str, float]:
    """Terms added up over all processes, in their order, so that all get the same bits."""
    total: dict[str, float] = {}
    for own in gather_object([terms]):
        for key, value in own.items():
            total[key] = total.get(key, 0.0) + value
    return total


@torch.no_grad()
def validation_mean(
    parts: Iterable[Columns],
    terms: Callable[..., dict[str, Tensor]],
    accelerator: Accelerator,
) -> dict[str, float]:
    """Named terms of validation samples, averaged over samples: `val_<term>`.

    Args:
        parts: columns of the samples, part by part; processes take turns.
        terms: columns of a part -> means over it.
    """
    sums: dict[str, float] = {"samples": 0}
    for columns in islice(parts, accelerator.process_index, None, accelerator.num_processes):
        with accelerator.autocast():
            found = terms(*columns)
        sums["samples"] += len(columns[0])
        for key, value in found.items():
            sums[key] = sums.get(key, 0.0) + float(value) * len(columns[0])
    sums = sum_terms(sums)
    samples = sums.pop("samples")
    return {f"val_{key}": value / samples for key, value in sums.items()}
