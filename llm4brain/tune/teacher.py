"""The teacher for the understanding gap: the frozen LLM with the true video as input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from llm4brain.checkpoint import NO_PROGRESS, Progress
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
        progress: keeps the cache in parts; `name` tells this teacher's parts from others'.
    """

    def __init__(
        self,
        llm: VideoLLM,
        z_v: Callable[[Sequence[int]], np.ndarray],
        captions: Sequence[Sequence[str]],
        progress: Progress = NO_PROGRESS,
        name: str = "",
    ) -> None:
        self._llm = llm
        pairs = [(clip, text) for clip, own in enumerate(captions) for text in dict.fromkeys(own)]
        self._states: dict[tuple[int, str], Tensor] = {}
        for i in range(0, len(pairs), CHUNK):
            part = pairs[i : i + CHUNK]

            def read(part=part) -> dict[str, Tensor]:
                prefix = torch.from_numpy(z_v([clip for clip, _ in part])).to(llm.device)
                found = llm.answer_states(prefix, [text for _, text in part])
                return {str(k): states for k, states in enumerate(found)}

            states = progress.tensors(["teacher", name, i], read)
            self._states |= {pair: states[str(k)].to(llm.device) for k, pair in enumerate(part)}

    def logits(self, clips: Sequence[int], captions: Sequence[str]) -> Tensor:
        """Logits (answer tokens, vocabulary) for one caption of each of the given clips."""
        pairs = zip(clips, captions, strict=True)
        return self._llm.head(torch.cat([self._states[pair] for pair in pairs]))
