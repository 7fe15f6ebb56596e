"""Train the small video-LLM on films, in two stages, each with a training log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from llm4brain.errors import UserError
from llm4brain.io import write_json
from llm4brain.sections import VideoLLMSettings
from llm4brain.sources import SIDECAR
from llm4brain.training import fit, spread
from llm4brain.video.frames import film_frames
from llm4brain.video.reference_captions import film_captions
from llm4brain.video.small import Contrast, Reading, Words, caption_loss, embedded
from llm4brain.video.videollm import VideoLLM

HELD_OUT = 8  # every eighth film is held out for validation
CHUNK = 64  # clips per batch without training
VALIDATED = 64  # maximum number of held-out clips that the LLM is validated on, spread over all


@dataclass(frozen=True)
class Films:
    """Clips of films with their captions.

    Attributes:
        pixels: float16 (clips, frames, 3, h, w).
        captions: several per clip.
        held_out: bool (clips,); whole films are held out.
    """

    pixels: Tensor
    captions: list[list[str]]
    held_out: np.ndarray


def read_films(folder: Path, frames: int, pixels: Callable[[np.ndarray], Tensor]) -> Films:
    """Read `*.mp4` and `*_captions.tsv` in a folder; `pixels` as in `VideoLLM.pixels`.

    Raises:
        UserError: fewer than two films, or a film without captions.
    """
    films = sorted(folder.glob("*.mp4"))
    if len(films) < 2:
        raise UserError(folder, f"holds {len(films)} films", "two are the least: make them first")
    parts, captions, held_out = [], [], []
    for i, film in enumerate(films):
        clips = film_captions(film)
        parts.append(pixels(film_frames(film, list(clips), frames)).half())
        captions += clips.values()
        # The last film of each group of eight, or the last film if there are fewer than eight.
        held = i % HELD_OUT == HELD_OUT - 1 or (len(films) < HELD_OUT and film == films[-1])
        held_out += [held] * len(clips)
    return Films(torch.cat(parts), captions, np.array(held_out))


def learn(
    video: VideoLLM,
    films: Films,
    settings: VideoLLMSettings,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    identity: object,
) -> pd.DataFrame:
    """Train ViT, Q-Former and projection in place, and the LLM by LoRA, merged at the end.

    Args:
        folder: of checkpoints; the caller deletes it after saving the model.
        identity: must be equal for a checkpoint to be resumed.

    Returns:
        The logs of both stages, concatenated, with a column `stage`.
    """
    video.to(accelerator.device)
    train, held = np.flatnonzero(~films.held_out), np.flatnonzero(films.held_out)
    logs = []
    for stage in (contrast, generate):
        log = stage(
            video, films, train, held, settings, seed, folder / stage.__name__, accelerator,
            identity,
        )  # fmt: skip
        logs.append(log.assign(stage=stage.__name__))
    return pd.concat(logs, ignore_index=True)


def contrast(video, films, train, held, settings, seed, folder, accelerator, identity):
    """Stage 1: ViT and Q-Former."""
    words = Words([films.captions[i] for i in train])
    shares = words.shares(films.captions).to(accelerator.device)
    module = Contrast(video, len(words.names)).to(accelerator.device)
    # Initialise the word predictions at their base rates.
    rate = shares[train].mean(0).clamp(1e-4, 1 - 1e-4)
    with torch.no_grad():
        module.words.bias.copy_(torch.logit(rate))
    texts = [_embed(video, texts) for texts in films.captions]
    blends = embedded(video, films.captions, train).to(accelerator.device)
    with torch.no_grad():
        module.language_projection.weight.zero_()
        module.language_projection.bias.copy_(blends[train].mean((0, 1)))

    def terms(index: np.ndarray, pixels: Tensor, pick: Callable[[int], int]) -> dict[str, Tensor]:
        text = torch.stack([texts[i][pick(len(texts[i]))] for i in index]).to(accelerator.device)
        pixels = pixels.to(accelerator.device, torch.float32)
        return module(pixels, text, shares[index], blends[index])

    def loss(batch: np.ndarray) -> dict[str, Tensor]:
        # One random frame per clip: frames of a clip are similar, and the Q-Former processes them
        # one by one, so four frames would cost four times as much with little gain.
        index, frames = train[batch], films.pixels.shape[1]
        shown = films.pixels[index, np.random.randint(frames, size=len(index))]
        return terms(index, shown, np.random.randint)

    @torch.no_grad()
    def validate() -> dict[str, float]:
        with accelerator.autocast():
            found = [terms(part, films.pixels[part, 0], lambda n: 0) for part in _parts(held)]
        return _mean(found, held)

    return fit(
        module, samples=len(train), loss=loss, validate=validate, settings=settings.contrast,
        seed=seed, name="contrast", folder=folder, accelerator=accelerator, identity=identity,
    )  # fmt: skip


def generate(video, films, train, held, settings, seed, folder, accelerator, identity):
    """Stage 2: projection and LoRA, through the LLM. The Q-Former's outputs are precomputed."""
    held = held[spread(len(held), VALIDATED)]
    module = Reading(video).to(accelerator.device)
    if accelerator.mixed_precision == "bf16":
        module.lower(torch.bfloat16)

    @torch.no_grad()
    def see(index: np.ndarray) -> Tensor:
        return video.queries(video.vit_tokens(films.pixels[index].float())).cpu()

    queries = torch.cat([see(part) for part in _parts(np.arange(len(films.captions)))])

    def terms(index: np.ndarray, pick: Callable[[int], int]) -> dict[str, Tensor]:
        captions = [films.captions[i][pick(len(films.captions[i]))] for i in index]
        prefix = video.model.language_projection(queries[index].to(video.device))
        return {"loss": caption_loss(video, prefix, captions)}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        with accelerator.autocast():
            return _mean([terms(part, lambda n: 0) for part in _parts(held)], held)

    log = fit(
        module, samples=len(train), loss=lambda batch: terms(train[batch], np.random.randint),
        validate=validate, settings=settings.generate, seed=seed, name="generate", folder=folder,
        accelerator=accelerator, identity=identity,
    )  # fmt: skip
    module.merge()
    return log


def save(video: VideoLLM, folder: Path, provenance: dict) -> None:
    """Write a standard Hugging Face checkpoint with its processor."""
    video.model.save_pretrained(folder)
    video.processor.save_pretrained(folder)
    write_json(folder / SIDECAR, {"prompt": video.prompt} | provenance)


@torch.no_grad()
def _embed(video: VideoLLM, texts: list[str]) -> Tensor:
    """Mean input embedding of each caption: (captions, d), at unit variance."""
    rows = video.tokenizer(texts, add_special_tokens=False)["input_ids"]
    means = [video.embeddings(torch.tensor(r, device=video.device)).float().mean(0) for r in rows]
    stacked = torch.stack(means)
    return F.layer_norm(stacked, stacked.shape[-1:]).cpu()


def _parts(index: np.ndarray) -> list[np.ndarray]:
    return [index[i : i + CHUNK] for i in range(0, len(index), CHUNK)]


def _mean(found: list[dict[str, Tensor]], index: np.ndarray) -> dict[str, float]:
    """Terms averaged over chunks of unequal size, as `val_<term>`."""
    sizes = [len(part) for part in _parts(index)]
    return {
        f"val_{key}": sum(float(f[key]) * n for f, n in zip(found, sizes, strict=True)) / sum(sizes)
        for key in found[0]
    }
