"""The teacher of the understanding gap: the frozen LLM's reading of the true video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm4brain.video.videollm import VideoLLM

CHUNK = 32


class Teacher:
    """p_LLM(y_t | z_v, prompt, y_<t) of every clip and caption, read once and kept.

    The teacher never changes, and the subjects share it with the clips. Kept is what the LLM's
    head sees; logits, a hundred times as large, are made of it when they are asked for.

    Args:
        llm: without LoRA yet.
        z_v: (clips, K, d).
        captions: those that each clip may be read with.
    """

    def __init__(self, llm: VideoLLM, z_v: np.ndarray, captions: Sequence[Sequence[str]]) -> None:
        self._llm = llm
        pairs = [(clip, text) for clip, own in enumerate(captions) for text in dict.fromkeys(own)]
        self._states: dict[tuple[int, str], Tensor] = {}
        for i in range(0, len(pairs), CHUNK):
            part = pairs[i : i + CHUNK]
            prefix = torch.from_numpy(z_v[[clip for clip, _ in part]]).to(llm.device)
            self._states |= zip(part, llm.answer_states(prefix, [t for _, t in part]), strict=True)

    def logits(self, clips: Sequence[int], captions: Sequence[str]) -> Tensor:
        """Logits (answer tokens, vocabulary) of one caption of each of the clips."""
        pairs = zip(clips, captions, strict=True)
        return self._llm.head(torch.cat([self._states[pair] for pair in pairs]))
