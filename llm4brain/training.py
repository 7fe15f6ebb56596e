"""The one training loop: seeded, checkpointed, resumed, validated, logged."""

from __future__ import annotations

import hashlib
import json
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
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from llm4brain.errors import UserError
from llm4brain.io import read_json, whole, write_json, write_table
from llm4brain.sections import FitSettings


def machine(threads: int, precision: str = "auto") -> Accelerator:
    """Set torch's threads and let accelerate choose the device.

    Args:
        threads: CPU threads that this job may use.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the device multiplies it natively.
    """
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    if precision == "auto":
        gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if gpu or torch.cpu._is_avx512_bf16_supported() else "fp32"
    mixed = "no" if precision == "fp32" else precision
    return Accelerator(mixed_precision=mixed)


def seed_everything(*parts: object) -> None:
    """Seed torch, numpy and Python from any parts, e.g. `(seed, "align", epoch)`."""
    seed = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained; the frozen ones are never in a checkpoint."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


class Checkpoint:
    """The state after each epoch in one folder; a different `identity` starts afresh."""

    def __init__(self, folder: Path, identity: object) -> None:
        self.folder = folder
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def save(self, epoch: int, state: dict[str, Tensor], log: list[dict[str, float]]) -> None:
        """Write weights, best weights and optimizer moments, then the index that names them."""
        name = f"epoch-{epoch:04d}.safetensors"
        with whole(self.folder / name) as partial:
            save_file({k: v.detach().cpu().clone() for k, v in state.items()}, partial)
        index = {"epoch": epoch, "file": name, "identity": self.identity, "log": log}
        write_json(self.folder / "index.json", index)
        self._delete(keep=name)

    def load(self) -> tuple[int, dict[str, Tensor], list[dict[str, float]]] | None:
        """The last whole epoch, or None if there is none of this identity."""
        try:
            index = read_json(self.folder / "index.json")
            if index["identity"] == self.identity:
                return index["epoch"], load_file(self.folder / index["file"]), index["log"]
        except (UserError, KeyError, OSError, SafetensorError):
            pass  # none yet, or damaged: nothing to resume
        self.clear()
        return None

    def clear(self) -> None:
        """Delete the checkpoint, and its folder if nothing else lies there."""
        (self.folder / "index.json").unlink(missing_ok=True)
        self._delete()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _delete(self, keep: str = "") -> None:
        """Delete weights other than `keep`, and what a killed process left half-written."""
        for pattern in ("epoch-*.safetensors", ".partial-*"):
            for old in self.folder.glob(pattern):
                if old.name != keep:
                    old.unlink()


def fit(
    model: nn.Module,
    *,
    samples: int,
    loss: Callable[[np.ndarray], dict[str, Tensor]],
    validate: Callable[[], dict[str, float]],
    settings: FitSettings,
    seed: int,
    name: str,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
) -> pd.DataFrame:
    """Train `model`'s parameters that require gradients and keep the best epoch's weights.

    Epoch 0 is the model as it comes: what training starts from is a candidate like every
    other epoch, so a stage is kept only where validation improves.

    Args:
        model: trained in place; on return it holds the best epoch's weights.
        samples: number of training samples; each epoch permutes them with its own seed.
        loss: indices of a batch -> named loss terms, of which `loss` is minimised.
        validate: named validation figures, of which `val_loss` selects the epoch.
        settings: epochs, batch size, learning rate, ...
        seed: seeds initial order and dropout; the same seed gives the same bytes.
        name: what the progress bar and the seeds are called.
        folder: where checkpoints lie while training lasts; gone after success.
        accelerator: device, precision, gradient scaling.
        identity: what must be equal for a checkpoint to be resumed (settings, data hashes).

    Returns:
        The log: one row an epoch, training terms averaged, validation figures, `best`.

    Raises:
        UserError: the validation loss is not finite before any training.
    """
    params = trainable(model)
    optimizer = torch.optim.AdamW(
        params.values(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    optimizer = accelerator.prepare(optimizer)
    steps = math.ceil(samples / settings.batch_size)
    total = steps * settings.epochs
    checkpoint = Checkpoint(folder, [identity, settings.model_dump(), seed, name, samples])

    def rate(step: int) -> float:
        """Linear warm-up, then cosine to zero."""
        warm = max(1, int(settings.warmup * total))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    resumed = checkpoint.load()
    if resumed is None:
        model.eval()
        seed_everything(seed, name, 0)
        log = [{"epoch": 0} | validate()]
        if not math.isfinite(log[0]["val_loss"]):
            raise UserError(name, "has no finite validation loss to start from", "check its inputs")
        best = {n: p.detach().cpu().clone() for n, p in params.items()}
        start = 1
    else:
        epoch, state, log = resumed
        best = {n: state[f"best.{n}"] for n in params}
        _restore(optimizer, params, state)
        start = epoch + 1
        print(f"{name}: resumed after epoch {epoch}", file=sys.stderr)

    with _progress(name, (start - 1) * steps, total) as bar:
        for epoch in range(start, settings.epochs + 1):
            seed_everything(seed, name, epoch)
            order = np.random.permutation(samples)
            model.train()
            sums: dict[str, float] = {}
            for i in range(steps):
                batch = order[i * settings.batch_size : (i + 1) * settings.batch_size]
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * rate((epoch - 1) * steps + i)
                with accelerator.autocast():
                    terms = loss(batch)
                accelerator.backward(terms["loss"])
                accelerator.clip_grad_norm_(params.values(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                for key, value in terms.items():
                    sums[key] = sums.get(key, 0.0) + float(value.detach()) * len(batch)
                bar.update()
            model.eval()
            row = {"epoch": epoch} | {k: v / samples for k, v in sums.items()} | validate()
            log.append(row)
            if _best(log) == epoch:
                best = {n: p.detach().cpu().clone() for n, p in params.items()}
            tqdm.write(" ".join([name, *(f"{k}={v:.5g}" for k, v in row.items())]), file=sys.stderr)
            if epoch < settings.epochs:
                checkpoint.save(epoch, _snapshot(optimizer, params, best), log)
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(best[n])
    checkpoint.clear()
    table = pd.DataFrame(log)
    # A resumed log has lost the order in which its terms came, so they go by name.
    table = table[["epoch", *sorted(c for c in table if c != "epoch")]]
    return table.assign(best=table["epoch"].eq(_best(log)))


def _best(log: list[dict[str, float]]) -> int:
    """The epoch of the lowest validation loss, the first of equals; a loss gone NaN never is."""
    losses = [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in log]
    return losses.index(min(losses))


@contextmanager
def _progress(name: str, done: int, total: int) -> Iterator[tqdm]:
    """A bar on standard error; where that goes to a log, on the terminal behind it, if any."""
    with ExitStack() as stack:
        shown: TextIO = sys.stderr
        if not shown.isatty():
            with suppress(OSError):
                shown = stack.enter_context(open("/dev/tty", "w"))
        off = not shown.isatty()
        with tqdm(
            total=total, initial=done, desc=name, file=shown, disable=off, leave=False
        ) as bar:
            yield bar


def _snapshot(optimizer, params: dict[str, Tensor], best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, best weights and Adam's moments as flat tensors: no pickle."""
    state = {f"weight.{n}": p for n, p in params.items()}
    state |= {f"best.{n}": p for n, p in best.items()}
    for n, p in params.items():
        for key, value in optimizer.state.get(p, {}).items():
            state[f"adam.{key}.{n}"] = torch.as_tensor(value)
    return state


def _restore(optimizer, params: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(state[f"weight.{n}"])
            optimizer.state[p] = {
                key: state[f"adam.{key}.{n}"].to(p.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{n}" in state
            }


def save_log(table: pd.DataFrame, csv: Path, png: Path, title: str) -> None:
    """Write the training log as CSV and draw its losses."""
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
    with whole(png) as partial:
        figure.savefig(partial, dpi=120, metadata={"Software": None})
    plt.close(figure)
