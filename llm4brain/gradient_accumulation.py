"""Gradient accumulation and data parallelism: split a step's samples over batches and processes.

The gradient of a step does not depend on the split. With L_s the mean loss of a share s and w_s the
number of items it averages over (masked voxels, answer tokens, samples),

    grad L = sum_s (w_s / sum w) grad L_s

An unweighted mean over shares would give the tokens of short captions more weight than those of
long ones. A contrastive loss is not such a sum: samples are compared only within a share, so
accumulation averages over smaller comparisons, and `batch_size` sets the number of negatives.
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

Columns = tuple[Any, ...]  # arrays or tensors, with one row per sample


def share_out(
    columns: Columns, batch_size: int, weigh: Callable[..., float], accelerator: Accelerator
) -> Iterator[tuple[Columns, float]]:
    """This process's shares of a step's samples, each with its weight w_s / sum w.

    Args:
        columns: inputs of the loss for all samples of the step, the same in every process.
        batch_size: number of samples that all processes hold at once.
        weigh: columns -> number of items that their loss averages over; additive over shares.
    """
    samples, processes = len(columns[0]), accelerator.num_processes
    if samples <= batch_size and processes == 1:
        yield columns, 1.0
        return
    total = float(weigh(*columns))
    for first in range(0, samples, batch_size):
        batch = np.arange(first, min(first + batch_size, samples))
        rows = np.array_split(batch, processes)[accelerator.process_index]
        # Without samples: run a zero-weight batch, so that collective operations match.
        own = tuple(column[rows if len(rows) else [first]] for column in columns)
        yield own, float(weigh(*own)) / total if len(rows) else 0.0


@contextmanager
def apart(accelerator: Accelerator, seed: int) -> Iterator[None]:
    """Give each process its own dropout; random draws after the block stay the same in all."""
    several = accelerator.num_processes > 1
    with torch.random.fork_rng(devices=[], enabled=several):
        if several:
            torch.manual_seed(seed + accelerator.process_index)
        yield


def sum_gradients(parameters: Iterable[Tensor], accelerator: Accelerator) -> None:
    """Replace each process's gradients by their sum over all processes."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, reduction="sum")


def sum_terms(terms: dict[str, float]) -> dict[str, float]:
    """Sum terms over all processes in a fixed order, so that all get identical results."""
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
        parts: columns of the samples, in parts; processes take turns.
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
