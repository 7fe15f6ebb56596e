"""Free-running decoding of test clips, from BOLD and from null inputs.

These functions take no captions: their output depends on BOLD alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from llm4brain.align.reader import BrainReader
from llm4brain.checkpoint import NO_PROGRESS, Progress
from llm4brain.video.videollm import VideoLLM

BATCH = 256  # rows whose tokens are held at once, as many as the LLM takes in a batch


@dataclass(frozen=True)
class Decoded:
    """The output of one system for each clip.

    Attributes:
        system, kind: as in table 1.
        texts: one per clip.
        reading: (clips, rank) components of z_f.
    """

    system: str
    kind: str
    texts: list[str]
    reading: np.ndarray


def read(
    inputs: Mapping[tuple[str, str], Callable[[], np.ndarray]],
    number: int,
    subject: str,
    reader: BrainReader,
    progress: Progress = NO_PROGRESS,
) -> dict[tuple[str, str], np.ndarray]:
    """Predict the components of z_f from one subject's windows, for each (system, kind).

    Args:
        inputs: (system, kind) -> function that returns windows (clips, T, voxels), or one window
            (1, T, voxels) that is the same for all clips.
        number: of clips.
        progress: keeps the components of each system.

    Returns:
        (system, kind) -> components (clips, rank).
    """

    def components(who: tuple[str, str]) -> dict[str, torch.Tensor]:
        windows = inputs[who]()
        own = reader.components(windows, np.full(len(windows), subject))
        return {"components": torch.from_numpy(own)}

    found = {}
    for who in inputs:
        own = progress.tensors(who, partial(components, who))["components"].numpy()
        found[who] = np.repeat(own, number, axis=0) if len(own) < number else own
    return found


def put_into_words(
    components: Mapping[tuple[str, str], np.ndarray],
    reader: BrainReader,
    llm: VideoLLM,
    max_new_tokens: int,
) -> list[Decoded]:
    """Generate text from the components returned by `read`.

    The systems are generated together: a batch costs little more than one row, since the weights
    are read once for all. Identical inputs are generated once.
    """
    every = np.concatenate(list(components.values()))
    # in order of appearance, so that the rows of the true BOLD come first
    _, first, which = np.unique(every, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    said = say(every[first[order]], reader.query_tokens, llm, max_new_tokens)
    place = np.argsort(order)
    texts = iter(said[place[w]] for w in which.ravel())
    return [
        Decoded(system, kind, [next(texts) for _ in own], own)
        for (system, kind), own in components.items()
    ]


def say(
    components: np.ndarray,
    write: Callable[[np.ndarray], np.ndarray],
    llm: VideoLLM,
    max_new_tokens: int,
) -> list[str]:
    """A text for each row of components (n, rank); `write` makes tokens (b, K, d) of a batch."""
    return [
        text
        for start in range(0, len(components), BATCH)
        for text in llm.generate(
            torch.from_numpy(write(components[start : start + BATCH])), max_new_tokens
        )
    ]


def prompt_alone(llm: VideoLLM, number: int, max_new_tokens: int) -> list[str]:
    """The LLM's answer to its prompt without any fMRI or video tokens, repeated `number` times."""
    nothing = torch.zeros(1, 0, llm.embeddings.embedding_dim)
    return llm.generate(nothing, max_new_tokens) * number


def shuffled(decoded: Decoded, names: Sequence[str], seed: Sequence[int]) -> list[Decoded]:
    """A system's texts and predictions assigned to other clips: across all films, and within films.

    Args:
        names: clip_id of its rows.
        seed: of this one shuffle; the p-values of table 1 use thousands.
    """
    rng = np.random.default_rng(list(seed))
    films = np.array([name.rpartition("_")[0] for name in names])
    # films with a single clip are shuffled among each other; otherwise they would not change
    single, number = np.unique(films, return_counts=True)
    films[np.isin(films, single[number == 1])] = ""
    across, within = rng.permutation(len(names)), np.arange(len(names))
    for film in sorted(set(films)):
        rows = np.flatnonzero(films == film)
        within[rows] = rng.permutation(rows)
    return [
        Decoded(name, "floor", [decoded.texts[i] for i in order], decoded.reading[order])
        for name, order in (("shuffled", across), ("shuffled_within", within))
    ]
