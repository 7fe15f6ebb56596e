"""The samples that tuning learns on: fMRI tokens, video tokens, captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from llm4brain.align.reader import BrainReader
from llm4brain.brain.cohort import rows_of
from llm4brain.errors import UserError
from llm4brain.io import Arrays

Samples = tuple[np.ndarray, np.ndarray, list[list[str]]]


def tuning_samples(
    adapted: Arrays,
    reader: BrainReader,
    video: Arrays,
    captions: pd.DataFrame,
    split: str,
    how: str,
) -> Samples:
    """Samples of `split` as the adapted encoder left them.

    Args:
        adapted: holds `<split>.<how>`, components by sample, and the samples' clips in meta.
        captions: clip_id, caption; only those of the split's own clips are taken, so that
            captions of test never come near the decoder.

    Returns:
        z_f (n, K, d), z_v (n, K, d) and the captions of each sample's clip.

    Raises:
        UserError: a clip has no caption.
    """
    clips: list[str] = adapted.meta[f"{split}_clips"]
    wanted = captions[captions["clip_id"].isin(set(clips))]
    texts = wanted.groupby("clip_id")["caption"].agg(list).to_dict()
    missing = sorted(set(clips) - texts.keys())
    if missing:
        raise UserError("captions", f"none for clip {missing[0]}", "add one or leave the clip out")
    z_f = reader.query_tokens(adapted[f"{split}.{how}"])
    z_v = video["video_tokens"][rows_of(video.meta["clip_id"], clips)]
    return z_f, z_v, [texts[clip] for clip in clips]
