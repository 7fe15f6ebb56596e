"""Captions of clips: those that people wrote, and those that the video-LLM writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llm4brain.errors import UserError
from llm4brain.io import read_table
from llm4brain.video.frames import film_frames
from llm4brain.video.videollm import VideoLLM

CLIP_COLUMNS = ("clip_id", "stim_file", "onset", "duration")
Span = tuple[float, float]  # onset and duration, seconds


def film_captions(film: Path) -> dict[Span, list[str]]:
    """The captions that lie beside a film as `<film>_captions.tsv`.

    Returns:
        (onset, duration) -> the captions of that clip, in the order of the table.

    Raises:
        UserError: the table is missing, lacks a column, or holds an empty caption.
    """
    path = film.with_name(f"{film.stem}_captions.tsv")
    table = read_table(path, ("onset", "duration", "caption"))
    if table.empty or table["caption"].fillna("").str.strip().eq("").any():
        raise UserError(path, "holds an empty caption or none", "write it or drop the row")
    found: dict[Span, list[str]] = {}
    for row in table.itertuples():
        found.setdefault((float(row.onset), float(row.duration)), []).append(row.caption.strip())
    return found


def human_captions(clips: pd.DataFrame, stimuli: Path) -> pd.DataFrame:
    """Join each clip with the captions that people wrote of it.

    Args:
        clips: clip_id, stim_file, onset, duration.
        stimuli: the folder that stim_file is relative to.

    Returns:
        clip_id, caption, source (`human`); several rows a clip.

    Raises:
        UserError: a film without captions, or a clip without one.
    """
    rows = []
    for stim_file, group in clips.groupby("stim_file", sort=False):
        film = stimuli / stim_file
        # Onsets come from two tables, so they are joined to the millisecond.
        by_onset = {round(onset, 3): texts for (onset, _), texts in film_captions(film).items()}
        for clip in group.itertuples():
            if round(clip.onset, 3) not in by_onset:
                raise UserError(
                    film, f"has no caption of the clip at {clip.onset:g} s",
                    "add it, or set captions.score to generated",
                )  # fmt: skip
            rows += [(clip.clip_id, text, "human") for text in by_onset[round(clip.onset, 3)]]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])


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
    texts: dict[str, str] = {}
    for group, pixels in film_pixels(model, clips, stimuli, frames):
        with torch.no_grad():
            # Rounded as the features are stored, so that both read the same tokens.
            tokens = model.video_tokens(model.vit_tokens(pixels).half().float())
        texts |= dict(zip(group["clip_id"], model.generate(tokens, max_new_tokens), strict=True))
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
