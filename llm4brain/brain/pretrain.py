"""Masked pretraining of SC-MBM on unlabelled train BOLD, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from llm4brain.brain.cohort import Cohort
from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.brain.weights import Published
from llm4brain.io import Arrays, whole
from llm4brain.sections import EncoderSettings
from llm4brain.training import fit, seed_everything


def pretrain(
    train: Cohort,
    validation: Cohort,
    settings: EncoderSettings,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
    weights: Published | None = None,
) -> tuple[SCMBM, pd.DataFrame]:
    """Fit SC-MBM by masked modelling; no clip, caption or label is read.

    It begins at random, or at `weights` that others have trained. Validation windows get the same
    masks at every epoch, so that epochs compare.
    """
    seed_everything(seed, "pretrain")
    grid = (train.voxels, train.affine, train.coordinates)
    model = new_encoder(settings, *grid, train.windows.shape[1])
    if weights is not None:
        weights.into(model)
    model.to(accelerator.device)
    data = torch.from_numpy(train.windows).to(accelerator.device)
    held_out = torch.from_numpy(validation.windows).to(accelerator.device)
    fixed = model.draw_masks(len(held_out), torch.Generator().manual_seed(seed))

    def loss(batch: np.ndarray) -> dict[str, torch.Tensor]:
        windows = data[torch.as_tensor(batch, device=data.device)]
        return {"loss": model.masked_loss(windows, model.draw_masks(len(batch)))}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        total = 0.0
        for i in range(0, len(held_out), 128):
            part = slice(i, i + 128)
            with accelerator.autocast():
                mean = model.masked_loss(held_out[part], fixed[part])
            total += float(mean) * len(held_out[part])
        return {"val_loss": total / len(held_out)}

    log = fit(
        model,
        samples=len(data),
        loss=loss,
        validate=validate,
        settings=settings.fit,
        seed=seed,
        name="pretrain",
        folder=folder,
        accelerator=accelerator,
        identity=identity,
    )
    return model, log


def save_encoder(path: Path, model: SCMBM, cohort: Cohort, meta: dict[str, Any]) -> None:
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
    with whole(path) as partial:
        save_file(tensors, partial, {"meta": json.dumps(meta, sort_keys=True)})


def load_encoder(arrays: Arrays) -> SCMBM:
    """Build SC-MBM from a file of `save_encoder`, or of a later stage that holds one."""
    settings = EncoderSettings.model_validate(arrays.meta["encoder"])
    at = arrays["grid.coordinates"] if "grid.coordinates" in arrays.names else None
    grid = (arrays["grid.voxels"], arrays["grid.affine"], at)
    model = new_encoder(settings, *grid, arrays.meta["volumes"])
    state = {
        n.removeprefix("scmbm."): torch.from_numpy(arrays[n])
        for n in arrays.names
        if n.startswith("scmbm.")
    }
    model.load_state_dict(state)
    return model
