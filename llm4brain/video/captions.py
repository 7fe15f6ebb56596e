"""Outputs of the video-LLM for clips: captions and video tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from llm4brain.sections import CaptionSettings
from llm4brain.video.frames import film_frames
from llm4brain.video.sampled import distinct, seed_of
from llm4brain.video.videollm import VideoLLM

AT_ONCE = 256  # maximum number of clips in a batch


def film_pixels(
    model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int
) -> Iterator[tuple[pd.DataFrame, Tensor]]:
    """Clips and their pixels, film by film, since each film is decoded only once.

    Yields:
        consecutive rows of `clips` from one film, and float32 (clips, frames, 3, h, w).
    """
    for _, group in clips.groupby(_film_changes(clips)):
        film = stimuli / group["stim_file"].iloc[0]
        spans = list(zip(group["onset"], group["duration"], strict=True))
        yield group, model.pixels(film_frames(film, spans, frames))


def _film_changes(clips: pd.DataFrame) -> pd.Series:
    """How often the film has changed up to each row."""
    return (clips["stim_file"] != clips["stim_file"].shift()).cumsum()


def generated_captions(
    model: VideoLLM,
    clips: pd.DataFrame,
    stimuli: Path,
    frames: int,
    max_new_tokens: int,
    source: str,
    how: CaptionSettings | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Let the model describe each clip: one greedy caption, then sampled ones.

    Args:
        model: sees the films, but no captions.
        clips: clip_id, stim_file, onset, duration.
        stimuli: the folder that stim_file is relative to.
        frames: frames of a clip that the model sees.
        max_new_tokens: maximum length of a caption.
        source: origin of the captions, e.g. the hash of the weights.
        how: number of captions per clip, and the sampling of all but the first; None: one caption.
        seed: of the sampling.

    Returns:
        clip_id, caption, source; in the order of `clips`. The greedy caption of a clip comes first;
        duplicates are removed. Batches that `model.progress` holds are not generated again.
    """
    rows = []
    for start in range(0, len(clips), AT_ONCE):
        batch = clips[start : start + AT_ONCE]

        def describe(batch=batch) -> list[list[str]]:
            return _describe(model, batch, stimuli, frames, max_new_tokens, how, seed)

        texts = model.progress.value(["captions", batch["clip_id"].tolist()], describe)
        rows += [
            (clip, text, source)
            for clip, own in zip(batch["clip_id"], texts, strict=True)
            for text in own
        ]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])


def _describe(
    model: VideoLLM,
    clips: pd.DataFrame,
    stimuli: Path,
    frames: int,
    max_new_tokens: int,
    how: CaptionSettings | None,
    seed: int,
) -> list[list[str]]:
    """Distinct captions of each clip; the greedy one comes first."""
    tokens = []
    for _, pixels in film_pixels(model, clips, stimuli, frames):
        with torch.no_grad():
            # Rounded as in the stored features, so that both use the same tokens.
            tokens.append(model.video_tokens(model.vit_tokens(pixels).half().float()).cpu())
    read = torch.cat(tokens)
    said = [model.generate(read, max_new_tokens)]
    for k in range(1, how.samples if how else 1):
        seeds = [seed_of(seed, clip, k) for clip in clips["clip_id"]]
        said.append(model.sample(read, seeds, how.temperature, how.top_p, max_new_tokens))
    return [distinct(own) for own in zip(*said, strict=True)]


def feature_shapes(
    model: VideoLLM, clips: int, frames: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """NumPy's name of the type, and the shape, of the arrays that `feature_batches` makes."""
    blank = model.pixels(np.zeros((1, frames, 32, 32, 3), np.uint8))
    made = _features(model, blank)
    return {name: (rows.dtype.name, (clips, *rows.shape[1:])) for name, rows in made.items()}


def feature_batches(
    model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int
) -> Iterator[Callable[[], dict[str, np.ndarray]]]:
    """Functions that compute the tokens of a film's clips, in the order of `clips`.

    Each returns `vit_tokens` float16 (clips, frames, n, v) and `video_tokens` float32 (clips, K,
    d). The latter are computed from the former as stored, so that the stored `vit_tokens` reproduce
    them.
    """
    for _, film in clips.groupby(_film_changes(clips)):
        for start in range(0, len(film), AT_ONCE):
            batch = film[start : start + AT_ONCE]

            def compute(batch=batch) -> dict[str, np.ndarray]:
                ((_, pixels),) = film_pixels(model, batch, stimuli, frames)
                return _features(model, pixels)

            yield compute


@torch.no_grad()
def _features(model: VideoLLM, pixels: Tensor) -> dict[str, np.ndarray]:
    tokens = model.vit_tokens(pixels).half()
    made = {"vit_tokens": tokens, "video_tokens": model.video_tokens(tokens.float())}
    return {name: values.cpu().numpy() for name, values in made.items()}
