"""The training loop of all stages: seeding, checkpoints, resuming, validation and logging."""

from __future__ import annotations

import hashlib
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from llm4brain.checkpoint import Checkpoint, restore, snapshot
from llm4brain.errors import UserError
from llm4brain.gradient_accumulation import Columns, apart, share_out, sum_gradients, sum_terms
from llm4brain.io import atomic_write, write_table
from llm4brain.sections import FitSettings


def make_accelerator(threads: int, precision: str = "auto") -> Accelerator:
    """Set torch's number of threads and let accelerate choose the device.

    Under `torchrun`, several such processes share the threads and use one GPU each.

    Args:
        threads: CPU threads that this job may use.
        precision: `fp32`, `bf16`, or `auto`: bf16 if the device supports it natively.

    Raises:
        UserError: there are more processes than GPUs.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if processes > torch.cuda.device_count() > 0:
        found = torch.cuda.device_count()
        raise UserError("gpus", f"{processes} requested, {found} available", "lower gpus")
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1) // processes))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    if precision == "auto":
        gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if gpu or torch.cpu._is_avx512_bf16_supported() else "fp32"
    mixed = "no" if precision == "fp32" else precision
    alone = processes == 1 or torch.cuda.is_available()  # several CPU processes need cpu=True
    return Accelerator(mixed_precision=mixed, cpu=not alone)


def seed_of(*parts: object) -> int:
    """A seed derived from any values, e.g. `(seed, "align", epoch)`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def seed_everything(*parts: object) -> None:
    """Seed torch, numpy and Python with a seed derived from any values."""
    seed = seed_of(*parts)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def spread(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` samples, spread over all of them."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters; frozen ones are never saved in a checkpoint."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def fit(
    model: nn.Module,
    *,
    samples: int,
    loss: Callable[..., dict[str, Tensor]],
    validate: Callable[[], dict[str, float]],
    settings: FitSettings,
    seed: int,
    name: str,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
    draw: Callable[[np.ndarray], Columns] = lambda samples: (samples,),
    weigh: Callable[..., float] = lambda samples, *_: len(samples),
) -> pd.DataFrame:
    """Train `model`'s parameters that require gradients and keep the best epoch's weights.

    Epoch 0 is the model before training and is a candidate for the best epoch like all others, so
    trained weights are kept only if they improve validation.

    A step uses `batch_size * gradient_accumulation_steps` samples, `batch_size` of them at a time.
    Several processes share each batch, so their number changes results only by rounding; one
    process writes files.
    With several processes, `loss` must not draw random numbers. `draw` does this instead, for the
    whole step and identically in every process.

    Args:
        model: trained in place; on return it holds the best epoch's weights.
        samples: number of training samples; each epoch permutes them with its own seed.
        loss: columns of samples -> named loss terms, of which `loss` is minimised.
        validate: returns named validation metrics, of which `val_loss` selects the epoch.
        settings: epochs, batch size, learning rate, ...
        seed: of the sample order and dropout; the same seed gives the same bytes.
        name: name of the stage, used in the progress bar and for seeding.
        folder: of checkpoints. The last one is kept until the caller has saved the model and calls
            `remove_checkpoint`.
        accelerator: device, precision, gradient scaling.
        identity: must be equal for a checkpoint to be resumed (settings, data hashes).
        draw: indices of a step's samples -> the columns that `loss` takes, one row per sample.
        weigh: columns -> number of items that their loss averages over
            (`llm4brain.gradient_accumulation`).

    Returns:
        The log: one row per epoch, with mean training terms, validation metrics and `best`.

    Raises:
        UserError: the validation loss is not finite before training.
    """
    params = trainable(model)
    optimizer = torch.optim.AdamW(
        params.values(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    optimizer = accelerator.prepare(optimizer)
    together = settings.batch_size * settings.gradient_accumulation_steps
    steps = math.ceil(samples / together)
    total = steps * settings.epochs
    first = accelerator.is_main_process
    checkpoint = Checkpoint(folder, [identity, settings.model_dump(), seed, name, samples], first)

    def rate(step: int) -> float:
        """Linear warm-up, then cosine to zero."""
        warm = max(1, int(settings.warmup_ratio * total))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    resumed = checkpoint.load()
    accelerator.wait_for_everyone()  # before the main process writes
    if resumed is None:
        model.eval()
        seed_everything(seed, name, 0)
        log = [{"epoch": 0} | validate()]
        if not math.isfinite(log[0]["val_loss"]):
            raise UserError(name, "has no finite validation loss to start from", "check its inputs")
        best = {n: p.detach().cpu().clone() for n, p in params.items()}
        checkpoint.save(0, snapshot(optimizer, params, best), log)
        start = 1
    else:
        epoch, state, log = resumed
        best = {n: state[f"best.{n}"] for n in params}
        restore(optimizer, params, state)
        start = epoch + 1
        if first:
            print(f"{name}: resumed after epoch {epoch}", file=sys.stderr)

    with _progress(name, (start - 1) * steps, total, shown=first) as bar:
        for epoch in range(start, settings.epochs + 1):
            seed_everything(seed, name, epoch)
            order = np.random.permutation(samples)
            model.train()
            sums: dict[str, float] = {}
            for i in range(steps):
                step = order[i * together : (i + 1) * together]
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * rate((epoch - 1) * steps + i)
                columns = draw(step)
                with apart(accelerator, seed_of(seed, name, epoch, i)):
                    for own, weight in share_out(columns, settings.batch_size, weigh, accelerator):
                        with accelerator.autocast():
                            terms = loss(*own)
                        accelerator.backward(weight * terms["loss"])
                        for key, value in terms.items():
                            value = float(value.detach()) * weight * len(step)
                            sums[key] = sums.get(key, 0.0) + value
                sum_gradients(params.values(), accelerator)
                accelerator.clip_grad_norm_(params.values(), settings.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                bar.update()
            model.eval()
            means = {key: value / samples for key, value in sum_terms(sums).items()}
            row = {"epoch": epoch} | means | validate()
            log.append(row)
            if _best(log) == epoch:
                best = {n: p.detach().cpu().clone() for n, p in params.items()}
            if first:
                said = " ".join([name, *(f"{k}={v:.5g}" for k, v in row.items())])
                tqdm.write(said, file=sys.stderr)
            checkpoint.save(epoch, snapshot(optimizer, params, best), log)
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(best[n])
    table = pd.DataFrame(log)
    # A resumed log does not keep the order of its terms, so they are sorted by name.
    table = table[["epoch", *sorted(c for c in table if c != "epoch")]]
    return table.assign(best=table["epoch"].eq(_best(log)))


def _best(log: list[dict[str, float]]) -> int:
    """The epoch with the lowest validation loss; the first one if tied; never one with NaN."""
    losses = [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in log]
    return losses.index(min(losses))


@contextmanager
def _progress(name: str, done: int, total: int, *, shown: bool) -> Iterator[tqdm]:
    """A progress bar on standard error; if that is not a terminal, on /dev/tty if available."""
    with ExitStack() as stack:
        where: TextIO = sys.stderr
        if not where.isatty():
            with suppress(OSError):
                where = stack.enter_context(open("/dev/tty", "w"))
        off = not (shown and where.isatty())
        with tqdm(
            total=total, initial=done, desc=name, file=where, disable=off, leave=False
        ) as bar:
            yield bar


def save_log(table: pd.DataFrame, csv: Path, png: Path, title: str) -> None:
    """Write the training log as CSV and plot its losses."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    write_table(csv, table)
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for column in table.columns:
        if "loss" in column:
            axes.plot(table["epoch"], table[column], marker="o", ms=3, label=column)
    best = table.loc[table["best"], "epoch"].iloc[0]
    axes.axvline(best, color="0.6", ls="--", lw=1, label=f"kept: epoch {best:.0f}")
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.legend(frameon=False)
    with atomic_write(png) as partial:
        figure.savefig(partial, dpi=120, metadata={"Software": None})
    plt.close(figure)
