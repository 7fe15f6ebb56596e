"""Free-running decoding of test clips, with the brain and with a broken one.

No caption is among what these functions get: what they return rests on BOLD alone.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    inputs: Mapping[tuple[str, str], np.ndarray],
    subject: str,
    reader: BrainReader,
    llm: VideoLLM,
    max_new_tokens: int,
) -> list[Decoded]:
    """Read one subject's windows as text.

    Args:
        inputs: (system, kind) -> windows (clips, T, voxels). All are generated together: a batch
            costs little more than one row, since the weights are read once for all.
    """
    z_f = [
        reader.query_tokens(reader.components(windows, np.full(len(windows), subject)))
        for windows in inputs.values()
    ]
    texts = iter(llm.generate(torch.from_numpy(np.concatenate(z_f)), max_new_tokens))
    return [
        Decoded(system, kind, [next(texts) for _ in tokens], tokens.reshape(len(tokens), -1))
        for (system, kind), tokens in zip(inputs, z_f, strict=True)
    ]
