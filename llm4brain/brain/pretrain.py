"""Masked pretraining of SC-MBM on unlabelled train BOLD, and its file format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors.torch import save_file

from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.masked_linear import loadings
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.brain.stored import Stored
from llm4brain.brain.weights import Published
from llm4brain.checkpoint import Progress
from llm4brain.errors import UserError
from llm4brain.gradient_accumulation import Columns
from llm4brain.io import Arrays, atomic_write
from llm4brain.sections import EncoderSettings
from llm4brain.training import fit, seed_everything, spread

CHUNK = 128  # windows per batch, outside training
WORTH = 1e-3  # smallest gain in R2 for which attention, the slowest part, is kept
TESTED = 512  # number of validation windows whose R2 selects the epoch
LINEAR = ("loading", "noise")  # the linear path, which is fitted again for each cohort


@dataclass(frozen=True)
class Trained:
    """An encoder saved by `save_encoder`, from which pretraining continues."""

    arrays: Arrays

    def into(self, model: SCMBM) -> None:
        """Copy its weights, except the linear path, into the model.

        Raises:
            UserError: the model has another size, or other windows or voxels.
        """
        state = {k: v for k, v in _weights(self.arrays).items() if k not in LINEAR}
        own = {k: v for k, v in model.state_dict().items() if k not in LINEAR}
        other = self.arrays.meta["volumes"] != model.tokenizer.volumes
        if other or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            wrong = "is an encoder of another size, or of other windows"
            raise UserError(self.arrays.path, wrong, "delete it and run again")
        model.load_state_dict(state, strict=False)


def pretrain(
    train: Stored,
    validation: Stored,
    settings: EncoderSettings,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
    weights: Published | Trained | None = None,
) -> tuple[SCMBM, pd.DataFrame]:
    """Fit SC-MBM by masked modelling; no clip, caption or label is used.

    The linear path is fitted first, in closed form. The network then learns its residual, starting
    from random weights or from the pretrained `weights`. Windows are read batch by batch, so memory
    use does not grow with the cohort. Epochs are compared on the same validation windows.

    Returns:
        The model and the log. `r2` is the fraction of held-out variance explained, with each patch
        predicted while hidden; `linear_r2` is that of the linear path alone. `r2_without_attention`
        is that of the best epoch without its masked autoencoder, which is removed from the model if
        it adds less than `WORTH`.
    """
    seed_everything(seed, "pretrain")
    grid = (train.voxels, train.affine, train.coordinates)
    model = new_encoder(settings, *grid, train.volumes)
    if weights is not None:
        weights.into(model)
    own = [identity, settings.model_dump(mode="json"), seed]
    progress = Progress(folder, own, accelerator.is_main_process)

    def fit_linear() -> dict[str, torch.Tensor]:
        loading, noise = linear_path(train, settings.n_components, settings.noise, seed)
        return {"loading": loading, "noise": torch.tensor(noise, dtype=torch.float64)}

    path = progress.tensors("linear_path", fit_linear)
    model.set_linear(path["loading"], float(path["noise"]))
    model.to(accelerator.device)
    inside = model.cells.sum(1)  # (tokens,) number of brain cells

    def draw(samples: np.ndarray) -> Columns:
        return train.draw(samples), model.draw_masks(len(samples))

    def masked(windows: Stored, places: np.ndarray, visible: torch.Tensor) -> dict:
        bold = torch.from_numpy(windows.read(places)).to(accelerator.device)
        return {"loss": model(bold, visible).loss}

    def weigh(places: np.ndarray, visible: torch.Tensor) -> float:
        """Number of masked cells that the loss averages over."""
        return float(len(places) * inside.sum() - inside[visible].sum())

    some = validation.places[spread(len(validation), TESTED)]
    linear = progress.value(
        "linear_r2", partial(explained_in_turns, model, validation, some, learned=False)
    )

    def validate() -> dict[str, float]:
        """Select epochs by the R2 of hidden patches, since this prediction is used later."""
        r2 = explained_in_turns(model, validation, some)
        return {"val_loss": 1 - r2, "r2": r2, "linear_r2": linear}

    log = fit(
        model,
        samples=len(train),
        loss=partial(masked, train),
        validate=validate,
        settings=settings.fit,
        seed=seed,
        name="pretrain",
        folder=folder,
        accelerator=accelerator,
        identity=identity,
        draw=draw,
        weigh=weigh,
    )
    model.eval()
    reached = explained_in_turns(model, validation, some)
    read = (model.share, model.mix.weight, model.mix.bias)  # attention acts through these only
    kept = [part.detach().clone() for part in read]
    with torch.no_grad():
        for part in read:
            part.zero_()
        without = explained_in_turns(model, validation, some)
        if reached - without >= WORTH:
            for part, value in zip(read, kept, strict=True):
                part.copy_(value)
        elif without < linear and model.surround is not None:  # started from another network
            for layer in (model.surround.straight, model.surround.up):
                layer.weight.zero_()
                layer.bias.zero_()
    print(
        f"R2 {reached:.4f}, {without:.4f} without attention, {linear:.4f} linear", file=sys.stderr
    )
    return model, log.assign(r2_without_attention=without)


def linear_path(
    train: Stored, n_components: int, noise: float, seed: int
) -> tuple[torch.Tensor, float]:
    """L and s of the linear path, from the largest covariance components of the train volumes."""

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(train), CHUNK):
            yield train.read(train.places[start : start + CHUNK]).reshape(-1, len(train.voxels))

    if n_components == 0:
        return torch.zeros(len(train.voxels), 0), noise
    return torch.from_numpy(loadings(batches, n_components, seed)), noise


@torch.no_grad()
def explained_in_turns(
    model: SCMBM, windows: Stored, places: np.ndarray, learned: bool = True
) -> float:
    """R2 of held-out windows, with each patch predicted while hidden."""
    device, left, total = model.pos.device, 0.0, 0.0
    for start in range(0, len(places), CHUNK):
        bold = torch.from_numpy(windows.read(places[start : start + CHUNK])).to(device)
        error = bold - model.predictable(bold, learned)
        left += float(error.square().sum(dtype=torch.float64))
        total += float(bold.square().sum(dtype=torch.float64))
    return 1 - left / max(total, 1e-12)


def save_encoder(path: Path, model: SCMBM, cohort: Stored, meta: dict[str, Any]) -> None:
    """Write the weights and their grid to one safetensors file."""
    import json

    tensors = {f"scmbm.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    tensors["grid.voxels"] = torch.from_numpy(np.ascontiguousarray(cohort.voxels))
    tensors["grid.affine"] = torch.from_numpy(np.ascontiguousarray(cohort.affine))
    if cohort.coordinates is not None:
        tensors["grid.coordinates"] = torch.from_numpy(np.ascontiguousarray(cohort.coordinates))
    meta = meta | {
        "encoder": model.settings.model_dump(mode="json"),
        "volumes": model.tokenizer.volumes,
    }
    with atomic_write(path) as written:
        save_file(tensors, written, {"meta": json.dumps(meta, sort_keys=True)})


def load_encoder(arrays: Arrays) -> SCMBM:
    """Load SC-MBM from a file written by `save_encoder`, or by a later stage that includes it.

    Raises:
        UserError: the file is of another version of LLM4Brain.
    """
    try:
        settings = EncoderSettings.model_validate(arrays.meta["encoder"])
    except ValidationError:
        todo = "train or export the model again"
        raise UserError(arrays.path, "was made by another version of LLM4Brain", todo) from None
    at = arrays["grid.coordinates"] if "grid.coordinates" in arrays.names else None
    grid = (arrays["grid.voxels"], arrays["grid.affine"], at)
    model = new_encoder(settings, *grid, arrays.meta["volumes"])
    state = _weights(arrays)
    model.set_linear(state["loading"], float(state["noise"]))
    model.load_state_dict(state)
    return model


def _weights(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {
        n.removeprefix("scmbm."): torch.from_numpy(arrays[n])
        for n in arrays.names
        if n.startswith("scmbm.")
    }
