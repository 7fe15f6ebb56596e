"""LLM tuning: LoRA (peft) on the prompt and fMRI tokens."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN
from transformers.modeling_layers import GradientCheckpointingLayer

from llm4brain.activation_checkpointing import checkpoint_activations
from llm4brain.checkpoint import Progress
from llm4brain.errors import UserError, needs_space
from llm4brain.gradient_accumulation import Columns, validation_mean
from llm4brain.io import Arrays, partial_of, read_json
from llm4brain.sections import TuneSettings
from llm4brain.tensors import loading, require_whole
from llm4brain.training import fit, seed_everything
from llm4brain.tune.gap import caption_loss, understanding_gap
from llm4brain.tune.samples import Samples
from llm4brain.tune.teacher import CHUNK, Teacher
from llm4brain.video.videollm import VideoLLM


def targets(language_model) -> list[str]:
    """Names of the layers that get LoRA: peft's defaults for this type of LLM.

    These are queries and values in Llama and OPT; some types store both in one matrix.

    Raises:
        UserError: peft has no defaults for this type of LLM, and the usual names do not exist.
    """
    kind = language_model.config.model_type
    wanted = KNOWN.get(kind, ["q_proj", "v_proj"])
    there = {name.rpartition(".")[2] for name, _ in language_model.named_modules()}
    if not isinstance(wanted, list) or not set(wanted) <= there:
        wrong = f"is an LLM of the kind {kind}, and where LoRA goes in it is not known"
        raise UserError("video_llm", wrong, "name a model with Llama, OPT or the like")
    return list(wanted)


def add_lora(llm: VideoLLM, settings: TuneSettings) -> PeftModel:
    """Add LoRA to the LLM's attention, see `targets`; initially it changes nothing."""
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules=targets(llm.model.language_model),
        task_type="CAUSAL_LM",
    )
    llm.model.language_model = get_peft_model(llm.model.language_model, config)
    return llm.model.language_model


def load_lora(llm: VideoLLM, folder: Path) -> None:
    """Load a saved adapter into the LLM.

    Raises:
        UserError: a file of it is missing or cut, or a tensor is missing, of another shape or NaN.
    """
    todo = "tune again, or fetch the model again"
    config, path = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    about = read_json(config)  # where it is missing peft asks the hub for it
    if not isinstance(about, dict) or about.get("peft_type") != "LORA":
        raise UserError(config, "is not of a LoRA (peft_type)", todo)
    held = Arrays(path)
    unfit = (RuntimeError, ValueError, TypeError)
    with loading(path, "does not fit the LLM", todo, unfit, line=-1):
        llm.model.language_model = PeftModel.from_pretrained(llm.model.language_model, folder)
    # embeddings are frozen; whether they are part of an adapter peft would ask the hub
    own = get_peft_model_state_dict(llm.model.language_model, save_embedding_layers=False)
    lost, strangers = own.keys() - set(held.names), set(held.names) - own.keys()
    require_whole(path, own, todo, lacks=lost, strangers=strangers)
    llm.eval()


def save_lora(peft: PeftModel, folder: Path, base: str) -> None:
    """Write PEFT's two files; each appears only when complete.

    Args:
        base: name of the base model in the adapter's configuration; a relative path, so that the
            file does not depend on the location of the project.

    Raises:
        UserError: the disk is full.
    """
    for config in peft.peft_config.values():
        config.base_model_name_or_path = base
        config.inference_mode = True
    partial = partial_of(folder)
    try:
        with needs_space(folder):
            peft.save_pretrained(partial, save_embedding_layers=False)  # embeddings are frozen
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                (partial / name).replace(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def tune(
    llm: VideoLLM,
    train: Samples,
    validation: Samples,
    settings: TuneSettings,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
) -> pd.DataFrame:
    """Train the LLM to caption fMRI tokens: L_ce + gap_weight * L_gap.

    An epoch uses every clip once, with the BOLD of one of the subjects and one of the captions,
    both drawn at random, so the cost of an epoch does not grow with the number of subjects.

    Args:
        llm: frozen; LoRA is added, with the best epoch's weights on return.
        train: z_f predicted out of fold, as noisy as z_f of test clips will be. With in-sample
            predictions, the LLM would learn to rely on a quality that test data do not have.
        validation: of validation stimuli; clips alternate between subjects, and each clip has its
            first caption.
    """
    llm.to(accelerator.device)
    held = replace(validation, captions=[texts[:1] for texts in validation.captions])
    # The teacher is read before LoRA is added; it is needed only for the gap.
    own = [identity, settings.model_dump(mode="json"), seed]
    progress = Progress(folder, own, accelerator.is_main_process)
    teach = [
        Teacher(llm, s.z_v, s.captions, progress, name) if settings.gap_weight else None
        for s, name in ((train, "train"), (held, "validation"))
    ]
    if settings.gradient_checkpointing:
        layers = llm.model.language_model.modules()
        checkpoint_activations(
            layer for layer in layers if isinstance(layer, GradientCheckpointingLayer)
        )
    readings, turns = train.readings(), held.readings()
    seed_everything(seed, "tune")
    peft = add_lora(llm, settings)
    if not llm.placed:  # else peft has put LoRA on the devices of its layers
        peft.to(accelerator.device)

    def terms(
        z_f: np.ndarray, teacher: Teacher | None, clips: np.ndarray, captions: list[str]
    ) -> dict[str, torch.Tensor]:
        logits, labels = llm.answer(torch.from_numpy(z_f).to(llm.device), captions)
        caption = caption_loss(logits, labels)
        gap = caption.new_zeros(())
        if teacher:
            gap = understanding_gap(logits, teacher.logits(clips.tolist(), captions))
        return {
            "loss": caption + settings.gap_weight * gap,
            "caption_loss": caption,
            "gap_loss": gap,
        }

    def pick(options):  # numpy is reseeded at each epoch
        return options[np.random.randint(len(options))]

    def draw(clips: np.ndarray) -> Columns:
        rows = np.array([pick(readings[c]) for c in clips])
        return clips, rows, np.array([pick(train.captions[c]) for c in clips], dtype=object)

    def loss(clips: np.ndarray, rows: np.ndarray, said: np.ndarray) -> dict[str, torch.Tensor]:
        return terms(train.z_f(rows), teach[0], clips, said.tolist())

    def weigh(_clips: np.ndarray, _rows: np.ndarray, said: np.ndarray) -> int:
        """Number of answer tokens that the loss averages over."""
        return int(llm.answer_ids(said.tolist())[1].sum())

    def held_out(clips: np.ndarray) -> dict[str, torch.Tensor]:
        rows = [turns[c][c % len(turns[c])] for c in clips]
        return terms(held.z_f(rows), teach[1], clips, [held.captions[c][0] for c in clips])

    chunks = np.array_split(np.arange(len(turns)), -(-len(turns) // CHUNK))

    return fit(
        peft,
        samples=len(readings),
        loss=loss,
        validate=lambda: validation_mean(zip(chunks), held_out, accelerator),
        settings=settings.fit,
        seed=seed,
        name="tune",
        folder=folder,
        accelerator=accelerator,
        identity=identity,
        draw=draw,
        weigh=weigh,
    )
