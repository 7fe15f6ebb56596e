"""CLIP-score (Hessel et al. 2021): captions against frames of the clip, without references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llm4brain.errors import UserError
from llm4brain.io import read_json
from llm4brain.sources import checked
from llm4brain.tensors import loading

WEIGHT = 2.5  # w of the paper, which rescales CLIP similarities to about 0 to 1
PREFIX = "A photo depicts "  # prefix of every caption, as in the paper


class Clip:
    """A `CLIPModel` folder as two functions into a common space; always on the CPU.

    Raises:
        UserError: `folder` contains no CLIP model.
    """

    def __init__(self, folder: str | Path, batch: int = 32) -> None:
        import torch
        from transformers import AutoTokenizer, CLIPModel
        from transformers.models.auto.image_processing_auto import AutoImageProcessor
        from transformers.utils import logging

        kind = read_json(checked(Path(folder)) / "config.json").get("model_type")
        if kind != "clip":
            raise UserError(folder, f"is a {kind} model, not CLIP", "correct evaluate.clip_model")
        logging.disable_progress_bar()
        how = {"local_files_only": True, "trust_remote_code": False}
        with loading(folder, "is not a whole CLIP", "fetch it again"):
            self.model = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            ).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **how)
            self.processor = AutoImageProcessor.from_pretrained(folder, **how)
        self.batch = batch

    def images(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Images, uint8 RGB (height, width, 3) each -> (frames, width of the space), unit rows."""
        import torch

        rows = []
        with torch.inference_mode():
            for begin in range(0, len(frames), self.batch):
                part = list(frames[begin : begin + self.batch])
                given = self.processor(part, return_tensors="pt")["pixel_values"]
                pooled = self.model.vision_model(pixel_values=given).pooler_output
                rows.append(self.model.visual_projection(pooled).numpy())
        return _unit(np.concatenate(rows))

    def texts(self, captions: Sequence[str]) -> np.ndarray:
        """Captions without the prefix -> (captions, width of the space), unit rows."""
        import torch

        rows = []
        longest = self.model.config.text_config.max_position_embeddings
        with torch.inference_mode():
            for begin in range(0, len(captions), self.batch):
                part = [PREFIX + text for text in captions[begin : begin + self.batch]]
                given = self.tokenizer(
                    part, padding=True, truncation=True, max_length=longest, return_tensors="pt"
                )
                shown = {k: given[k] for k in ("input_ids", "attention_mask")}
                pooled = self.model.text_model(**shown).pooler_output
                rows.append(self.model.text_projection(pooled).numpy())
        return _unit(np.concatenate(rows))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def seen(clip: Clip, frames: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """CLIP embeddings of each clip's frames: one array (frames, width) per clip, unit rows."""
    rows = clip.images([frame for own in frames for frame in own])
    return np.split(rows, np.cumsum([len(own) for own in frames])[:-1])


def clip_score(
    systems: Mapping[str, Sequence[str]], seen: Sequence[np.ndarray], clip: Clip
) -> dict[str, np.ndarray]:
    """100 w max(cos, 0), mean over the clip's frames; w is 2.5.

    Args:
        systems: name -> a caption for each clip. A caption without words gets 0; the original would
            score the prefix alone.
        seen: embedded frames of each clip, see `seen`.
        clip: embeds the captions, each distinct one once, in sorted order.

    Returns:
        Name -> shape (clips,), 0-250 by definition, rarely above 100.
    """
    distinct = sorted({" ".join(c.split()) for said in systems.values() for c in said})
    vectors = dict(zip(distinct, clip.texts(distinct), strict=True))

    def of(caption: str, own: np.ndarray) -> float:
        words = " ".join(caption.split())
        return 100 * WEIGHT * float(np.maximum(own @ vectors[words], 0).mean()) if words else 0.0

    return {
        name: np.array([of(c, own) for c, own in zip(said, seen, strict=True)])
        for name, said in systems.items()
    }
