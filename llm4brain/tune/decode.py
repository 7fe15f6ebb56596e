"""Free-running decoding of test clips, with the brain and with a broken one.

No caption is among what these functions get: what they return rests on BOLD alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from llm4brain.align.reader import BrainReader
from llm4brain.video.videollm import VideoLLM


@dataclass(frozen=True)
class Decoded:
    """What one system reads of each clip.

    Attributes:
        system, kind: as in table 1.
        texts: one a clip.
        reading: (clips, K * d) z_f, flat.
    """

    system: str
    kind: str
    texts: list[str]
    reading: np.ndarray


def decode(
    system: str,
    kind: str,
    windows: np.ndarray,
    subject: str,
    reader: BrainReader,
    llm: VideoLLM,
    max_new_tokens: int,
) -> Decoded:
    """Read windows (clips, T, voxels) of one subject as text."""
    subjects = np.full(len(windows), subject)
    z_f = reader.query_tokens(reader.components(windows, subjects))
    texts = llm.generate(torch.from_numpy(z_f), max_new_tokens)
    return Decoded(system, kind, texts, z_f.reshape(len(z_f), -1))
