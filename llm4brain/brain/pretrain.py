"""Masked pretraining of SC-MBM on unlabelled train BOLD, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.brain.stored import Stored
from llm4brain.brain.weights import Published
from llm4brain.errors import UserError
from llm4brain.io import Arrays, whole
from llm4brain.sections import EncoderSettings
from llm4brain.shares import Columns, validation_mean
from llm4brain.training import fit, seed_everything

CHUNK = 128  # validation windows at a time


@dataclass(frozen=True)
class Trained:
    """An encoder of `save_encoder` at which further pretraining begins."""

    arrays: Arrays

    def into(self, model: SCMBM) -> None:
        """Put its weights in place of the model's.

        Raises:
            UserError: it is of another size, or reads other windows or voxels.
        """
        state = _weights(self.arrays)
        own = model.state_dict()
        other = self.arrays.meta["volumes"] != model.tokenizer.volumes
        if other or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            wrong = "is an encoder of another size, or of other windows"
            raise UserError(self.arrays.path, wrong, "delete it and run again")
        model.load_state_dict(state)


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
    """Fit SC-MBM by masked modelling; no clip, caption or label is read.

    It begins at random, or at `weights` that others have trained. Windows are read batch by batch,
    so that memory does not grow with the cohort. Those of validation get the same masks at every
    epoch, so that epochs compare.
    """
    seed_everything(seed, "pretrain")
    grid = (train.voxels, train.affine, train.coordinates)
    model = new_encoder(settings, *grid, train.volumes)
    if weights is not None:
        weights.into(model)
    model.to(accelerator.device)
    inside = model.cells.sum(1)  # (patches,) brain cells of each

    def draw(samples: np.ndarray) -> Columns:
        return train.draw(samples), model.draw_masks(len(samples))

    def masked(windows: Stored, places: np.ndarray, visible: torch.Tensor) -> dict:
        bold = torch.from_numpy(windows.read(places)).to(accelerator.device)
        return {"loss": model.masked_loss(bold, visible)}

    def weigh(places: np.ndarray, visible: torch.Tensor) -> float:
        """How many masked cells the loss is a mean over."""
        return float(len(places) * inside.sum() - inside[visible].sum())

    def held_out() -> Iterator[Columns]:
        generator = torch.Generator().manual_seed(seed)
        for part in np.split(np.arange(len(validation)), range(CHUNK, len(validation), CHUNK)):
            yield validation.places[part], model.draw_masks(len(part), generator)

    log = fit(
        model,
        samples=len(train),
        loss=partial(masked, train),
        validate=lambda: validation_mean(held_out(), partial(masked, validation), accelerator),
        settings=settings.fit,
        seed=seed,
        name="pretrain",
        folder=folder,
        accelerator=accelerator,
        identity=identity,
        draw=draw,
        weigh=weigh,
    )
    return model, log


def save_encoder(path: Path, model: SCMBM, cohort: Stored, meta: dict[str, Any]) -> None:
    """Write weights, and the grid that they belong to, to one safetensors file."""
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
    with whole(path) as written:
        save_file(tensors, written, {"meta": json.dumps(meta, sort_keys=True)})


def load_encoder(arrays: Arrays) -> SCMBM:
    """Build SC-MBM from a file of `save_encoder`, or of a later stage that holds one."""
    settings = EncoderSettings.model_validate(arrays.meta["encoder"])
    at = arrays["grid.coordinates"] if "grid.coordinates" in arrays.names else None
    grid = (arrays["grid.voxels"], arrays["grid.affine"], at)
    model = new_encoder(settings, *grid, arrays.meta["volumes"])
    model.load_state_dict(_weights(arrays))
    return model


def _weights(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {
        n.removeprefix("scmbm."): torch.from_numpy(arrays[n])
        for n in arrays.names
        if n.startswith("scmbm.")
    }
