"""LLM tuning: LoRA by peft on prompt and fMRI tokens."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model

from llm4brain.config import TuneSettings
from llm4brain.training import fit, seed_everything
from llm4brain.tune.gap import caption_loss, understanding_gap
from llm4brain.video.videollm import VideoLLM


def add_lora(llm: VideoLLM, settings: TuneSettings) -> PeftModel:
    """Put LoRA into the query and value projections of the LLM; it starts as no change."""
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
    )
    llm.model.language_model = get_peft_model(llm.model.language_model, config)
    return llm.model.language_model


def load_lora(llm: VideoLLM, folder: Path) -> None:
    """Lay a saved adapter over the LLM."""
    llm.model.language_model = PeftModel.from_pretrained(llm.model.language_model, folder)
    llm.eval()


def save_lora(peft: PeftModel, folder: Path, base: str) -> None:
    """Write PEFT's own two files, whole or not at all.

    Args:
        base: how the adapter's base model is named in its configuration; a relative path, so
            that the bytes do not depend on where the project lies.
    """
    for config in peft.peft_config.values():
        config.base_model_name_or_path = base
        config.inference_mode = True
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    peft.save_pretrained(partial, save_embedding_layers=False)  # they are frozen
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (partial / name).replace(folder / name)
    shutil.rmtree(partial)


def tune(
    llm: VideoLLM,
    train: tuple[np.ndarray, np.ndarray, Sequence[Sequence[str]]],
    validation: tuple[np.ndarray, np.ndarray, Sequence[Sequence[str]]],
    settings: TuneSettings,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
) -> pd.DataFrame:
    """Teach the LLM to read fMRI tokens: L_ce + gap_weight * L_gap.

    Args:
        llm: frozen; gets LoRA, which holds the best epoch's weights on return.
        train: z_f (n, K, d), z_v (n, K, d) and the captions of each sample's clip. The z_f are
            read out of fold, as noisy as those of test will be: the LLM would otherwise learn
            to trust readings that only train samples get.
        validation: the same of validation stimuli.
    """
    seed_everything(seed, "tune")
    peft = add_lora(llm, settings)
    llm.to(accelerator.device)
    device = accelerator.device

    def terms(z_f: np.ndarray, z_v: np.ndarray, captions: list[str]) -> dict[str, torch.Tensor]:
        logits, labels = llm.answer(torch.from_numpy(z_f).to(device), captions)
        caption = caption_loss(logits, labels)
        gap = caption.new_zeros(())
        if settings.gap_weight > 0:
            with torch.no_grad(), peft.disable_adapter():
                teacher, _ = llm.answer(torch.from_numpy(z_v).to(device), captions)
            gap = understanding_gap(logits, teacher)
        return {
            "loss": caption + settings.gap_weight * gap,
            "caption_loss": caption,
            "gap_loss": gap,
        }

    def loss(batch: np.ndarray) -> dict[str, torch.Tensor]:
        z_f, z_v, captions = train
        # One of a clip's captions at a time; numpy is seeded anew each epoch.
        drawn = [captions[i][np.random.randint(len(captions[i]))] for i in batch]
        return terms(z_f[batch], z_v[batch], drawn)

    @torch.no_grad()
    def validate() -> dict[str, float]:
        z_f, z_v, captions = validation
        sums: dict[str, float] = {}
        for i in range(0, len(z_f), 32):
            part = slice(i, i + 32)
            with accelerator.autocast():
                found = terms(z_f[part], z_v[part], [c[0] for c in captions[part]])
            for key, value in found.items():
                sums[f"val_{key}"] = sums.get(f"val_{key}", 0.0) + float(value) * len(z_f[part])
        return {key: value / len(z_f) for key, value in sums.items()}

    log = fit(
        peft,
        samples=len(train[0]),
        loss=loss,
        validate=validate,
        settings=settings.fit,
        seed=seed,
        name="tune",
        folder=folder,
        accelerator=accelerator,
        identity=identity,
    )
    return log
