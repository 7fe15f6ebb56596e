"""Outputs of the video-LLM for clips: captions and video tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llm4brain.sections import CaptionSettings
from llm4brain.video.frames import film_frames
from llm4brain.video.sampled import distinct, seed_of
from llm4brain.video.videollm import VideoLLM


def film_pixels(model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int):
    """Clips and their pixels, film by film, since each film is decoded only once.

    Yields:
        the film's rows of `clips`, and float32 (clips, frames, 3, h, w).
    """
    for stim_file, group in clips.groupby("stim_file", sort=False):
        spans = list(zip(group["onset"], group["duration"], strict=True))
        yield group, model.pixels(film_frames(stimuli / stim_file, spans, frames))


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
        duplicates are removed.
    """
    names: list[str] = []
    tokens = []
    for group, pixels in film_pixels(model, clips, stimuli, frames):
        names += group["clip_id"].tolist()
        with torch.no_grad():
            # Rounded as in the stored features, so that both use the same tokens.
            tokens.append(model.video_tokens(model.vit_tokens(pixels).half().float()).cpu())
    read = torch.cat(tokens)
    said = [model.generate(read, max_new_tokens)]
    for k in range(1, how.samples if how else 1):
        seeds = [seed_of(seed, clip, k) for clip in names]
        said.append(model.sample(read, seeds, how.temperature, how.top_p, max_new_tokens))
    texts = dict(zip(names, map(distinct, zip(*said, strict=True)), strict=True))
    rows = [(clip, text, source) for clip in clips["clip_id"] for text in texts[clip]]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])


def video_features(
    model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int
) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Tokens of the clips, film by film.

    Yields:
        clip_id of the film's clips; and `vit_tokens` float16 (clips, frames, n, v) and
        `video_tokens` float32 (clips, K, d). The latter are computed from the former as stored, so
        that the stored `vit_tokens` reproduce them.
    """
    for group, pixels in film_pixels(model, clips, stimuli, frames):
        tokens = model.vit_tokens(pixels).half()
        with torch.no_grad():
            made = {"vit_tokens": tokens, "video_tokens": model.video_tokens(tokens.float())}
        yield list(group["clip_id"]), {name: each.cpu().numpy() for name, each in made.items()}
