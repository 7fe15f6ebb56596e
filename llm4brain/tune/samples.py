"""Samples for tuning: fMRI tokens, video tokens and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    Tokens are many: those of a batch are made or read when they are asked for.

    Attributes:
        components: (n, rank) of the fMRI tokens, one row per subject and clip.
        clip: (n,) index of each row's clip.
        place: (clips,) row of each clip in `video`.
        captions: captions of each clip.
        write: components (b, rank) -> fMRI tokens (b, K, d).
        video: video tokens (any clips, K, d), may be memory-mapped.
    """

    components: np.ndarray
    clip: np.ndarray
    place: np.ndarray
    captions: list[list[str]]
    write: Callable[[np.ndarray], np.ndarray]
    video: np.ndarray

    def readings(self) -> list[np.ndarray]:
        """For each clip, its rows of `components`, one for each subject who saw it."""
        return [np.flatnonzero(self.clip == c) for c in range(len(self.place))]

    def z_f(self, rows: Sequence[int]) -> np.ndarray:
        """(b, K, d) fMRI tokens of some rows."""
        return self.write(self.components[rows])

    def z_v(self, clips: Sequence[int]) -> np.ndarray:
        """(b, K, d) video tokens of some clips."""
        return self.video[self.place[clips]]


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
    place = rows_of(video.meta["clip_id"], list(clips))
    said, tokens = [texts[name] for name in clips], video.mapped("video_tokens")
    found = adapted[f"{split}.{how}"]
    return Samples(found, clip, place, said, reader.query_tokens, tokens)
