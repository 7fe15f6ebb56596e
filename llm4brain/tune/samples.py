"""Samples for tuning: fMRI tokens, video tokens and captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4brain.align.reader import BrainReader
from llm4brain.brain.cohort import rows_of
from llm4brain.errors import UserError
from llm4brain.io import Arrays


@dataclass(frozen=True)
class Samples:
    """Clips with tokens from the subjects' BOLD and from the video.

    Attributes:
        z_f: (n, K, d) fMRI tokens, one row per subject and clip.
        clip: (n,) index of each row's clip.
        z_v: (clips, K, d) video tokens.
        captions: captions of each clip.
    """

    z_f: np.ndarray
    clip: np.ndarray
    z_v: np.ndarray
    captions: list[list[str]]

    def readings(self) -> list[np.ndarray]:
        """For each clip, its rows of `z_f`, one for each subject who saw it."""
        return [np.flatnonzero(self.clip == c) for c in range(len(self.z_v))]


def tuning_samples(
    adapted: Arrays,
    reader: BrainReader,
    video: Arrays,
    captions: pd.DataFrame,
    split: str,
    how: str,
) -> Samples:
    """Samples of `split`, as written by the adapted encoder.

    Args:
        adapted: holds `<split>.<how>`, (samples, components), and the samples' clips in meta.
        captions: clip_id, caption. Only captions of the split's own clips are used, so test
            captions never reach the decoder.

    Returns:
        the samples of all subjects in `split`.

    Raises:
        UserError: a clip has no caption.
    """
    clips, clip = np.unique(adapted.meta[f"{split}_clips"], return_inverse=True)
    wanted = captions[captions["clip_id"].isin(set(clips))]
    texts = wanted.groupby("clip_id")["caption"].agg(list).to_dict()
    missing = sorted(set(clips) - texts.keys())
    if missing:
        raise UserError("captions", f"none for clip {missing[0]}", "add one or leave the clip out")
    z_f = reader.query_tokens(adapted[f"{split}.{how}"])
    z_v = video["video_tokens"][rows_of(video.meta["clip_id"], list(clips))]
    return Samples(z_f, clip, z_v, [texts[name] for name in clips])
