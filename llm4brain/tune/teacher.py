"""The teacher for the understanding gap: the frozen LLM with the true video as input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from llm4brain.video.videollm import VideoLLM

CHUNK = 32


class Teacher:
    """p_LLM(y_t | z_v, prompt, y_<t) of every clip and caption, computed once and cached.

    The teacher is constant and does not depend on the subject. The cache holds the inputs of the
    LLM's head; the logits, a hundred times as large, are computed on request.

    Args:
        llm: before LoRA is added.
        z_v: indices of clips -> their video tokens (b, K, d).
        captions: possible captions of each clip.
    """

    def __init__(
        self,
        llm: VideoLLM,
        z_v: Callable[[Sequence[int]], np.ndarray],
        captions: Sequence[Sequence[str]],
    ) -> None:
        self._llm = llm
        pairs = [(clip, text) for clip, own in enumerate(captions) for text in dict.fromkeys(own)]
        self._states: dict[tuple[int, str], Tensor] = {}
        for i in range(0, len(pairs), CHUNK):
            part = pairs[i : i + CHUNK]
            prefix = torch.from_numpy(z_v([clip for clip, _ in part])).to(llm.device)
            self._states |= zip(part, llm.answer_states(prefix, [t for _, t in part]), strict=True)

    def logits(self, clips: Sequence[int], captions: Sequence[str]) -> Tensor:
        """Logits (answer tokens, vocabulary) for one caption of each of the given clips."""
        pairs = zip(clips, captions, strict=True)
        return self._llm.head(torch.cat([self._states[pair] for pair in pairs]))
