"""Free-running decoding of test clips, with the brain and with a broken one.

No caption is among what these functions get: what they return rests on BOLD alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def read(
    inputs: Mapping[tuple[str, str], np.ndarray], subject: str, reader: BrainReader
) -> dict[tuple[str, str], np.ndarray]:
    """Read one subject's windows: (system, kind) -> windows (clips, T, voxels), to z_f of each."""
    return {
        who: reader.query_tokens(reader.components(windows, np.full(len(windows), subject)))
        for who, windows in inputs.items()
    }


def put_into_words(
    tokens: Mapping[tuple[str, str], np.ndarray], llm: VideoLLM, max_new_tokens: int
) -> list[Decoded]:
    """What the LLM says to the readings of `read`.

    All are generated together: a batch costs little more than one row, since the weights are read
    once for all. What is read alike is put into words once.
    """
    every = np.concatenate(list(tokens.values()))
    # in order of appearance, so that the true brain's rows come first
    _, first, which = np.unique(
        every.reshape(len(every), -1), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    said = llm.generate(torch.from_numpy(every[first[order]]), max_new_tokens)
    place = np.argsort(order)
    texts = iter(said[place[w]] for w in which.ravel())
    return [
        Decoded(system, kind, [next(texts) for _ in z_f], z_f.reshape(len(z_f), -1))
        for (system, kind), z_f in tokens.items()
    ]


def prompt_alone(llm: VideoLLM, number: int, max_new_tokens: int) -> list[str]:
    """What the LLM answers to its prompt with nothing to look at, `number` times."""
    nothing = torch.zeros(1, 0, llm.embeddings.embedding_dim)
    return llm.generate(nothing, max_new_tokens) * number


def shuffled(decoded: Decoded, names: Sequence[str], seed: Sequence[int]) -> list[Decoded]:
    """A system's words and readings given to other clips: across all films, and within each.

    Args:
        names: clip_id of its rows.
        seed: of one shuffle; table 1's p has thousands.
    """
    rng = np.random.default_rng(list(seed))
    films = np.array([name.rpartition("_")[0] for name in names])
    # films of one clip lend each other theirs: within itself such a film would keep its own
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
