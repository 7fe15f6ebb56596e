"""What the video-LLM makes of clips: captions, and the tokens that stand for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llm4brain.video.frames import film_frames
from llm4brain.video.videollm import VideoLLM


def film_pixels(model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int):
    """Film by film, since a film is decoded once: its clips and their pixels.

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
) -> pd.DataFrame:
    """Let the model describe each clip, greedily.

    Args:
        model: reads the films; sees no caption.
        clips: clip_id, stim_file, onset, duration.
        stimuli: the folder that stim_file is relative to.
        frames: frames of a clip that the model sees.
        max_new_tokens: longest caption.
        source: what wrote them, e.g. the hash of the weights.

    Returns:
        clip_id, caption, source; one row a clip, in the order of `clips`.
    """
    names: list[str] = []
    tokens = []
    for group, pixels in film_pixels(model, clips, stimuli, frames):
        names += group["clip_id"].tolist()
        with torch.no_grad():
            # Rounded as the features are stored, so that both read the same tokens.
            tokens.append(model.video_tokens(model.vit_tokens(pixels).half().float()))
    texts = dict(zip(names, model.generate(torch.cat(tokens), max_new_tokens), strict=True))
    rows = [(clip, texts[clip], source) for clip in clips["clip_id"]]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])


def video_features(
    model: VideoLLM, clips: pd.DataFrame, stimuli: Path, frames: int
) -> dict[str, np.ndarray]:
    """Tokens of each clip, in the order of `clips`.

    Returns:
        `vit_tokens` float16 (clips, frames, n, v) and `video_tokens` float32 (clips, K, d), the
        latter made from the former as stored, so that adaptors at zero give the same.
    """
    place = {clip: i for i, clip in enumerate(clips["clip_id"])}
    found: dict[str, np.ndarray] = {}
    for group, pixels in film_pixels(model, clips, stimuli, frames):
        tokens = model.vit_tokens(pixels).half()
        with torch.no_grad():
            made = {"vit_tokens": tokens, "video_tokens": model.video_tokens(tokens.float())}
        rows = [place[clip] for clip in group["clip_id"]]
        for name, values in made.items():
            array = values.cpu().numpy()
            if name not in found:
                found[name] = np.zeros((len(clips), *array.shape[1:]), array.dtype)
            found[name][rows] = array
    return found
