"""Sentence similarity: cosine of sentence embeddings, mean over a clip's references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llm4brain.errors import UserError
from llm4brain.sources import checked
from llm4brain.tensors import loading

Encoder = Callable[[Sequence[str]], np.ndarray]


def sentence_encoder(folder: str | Path, batch: int = 64) -> Encoder:
    """A sentence-transformers model as a function: sentences -> (sentences, width), unit rows.

    Source: Reimers & Gurevych 2019. Always on the CPU, so that values do not depend on a GPU.

    Raises:
        UserError: `folder` contains no such model.
    """
    if not (Path(folder) / "modules.json").is_file():
        wrong = "is not a sentence-transformers model (it has no modules.json)"
        raise UserError(folder, wrong, "correct evaluate.sentence_model")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    how = {"device": "cpu", "local_files_only": True, "trust_remote_code": False}
    how["model_kwargs"] = {"use_safetensors": True}
    with loading(folder, "is not a whole sentence-transformers model", "get it again"):
        model = SentenceTransformer(str(checked(Path(folder))), **how)

    def encode(sentences: Sequence[str]) -> np.ndarray:
        return model.encode(
            list(sentences),
            batch_size=batch,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )

    return encode


def similarity(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    encode: Encoder,
    own: Mapping[str, Sequence[Sequence[str]]] | None = None,
    pairs: bool = True,
) -> dict[str, np.ndarray]:
    """Cosine between a system's caption and each reference of the clip, averaged over references.

    Each distinct sentence is encoded once, in sorted order, so results are reproducible.

    Args:
        systems: name -> a caption for each clip.
        references: one or more captions for each clip.
        encode: sentences -> unit rows.
        own: system -> its own references, replacing `references`.
        pairs: for every caption at every clip, for permutations. For 40,000 clips this is 13 GB.

    Returns:
        Name -> shape (clips, clips), -1 to 1: caption i at clip j; 0 for empty captions. Without
        `pairs` only the diagonal, (clips,).
    """
    sets = {"": references, **(own or {})}
    every = {c for captions in systems.values() for c in captions}
    every |= {c for one in sets.values() for clip in one for c in clip}
    distinct = sorted(every)
    rows = {sentence: i for i, sentence in enumerate(distinct)}
    vectors = np.asarray(encode(distinct), dtype=np.float64)
    # the mean of cosines is the product with the mean of unit vectors
    truths = {
        name: np.stack([vectors[[rows[c] for c in clip]].mean(axis=0) for clip in one])
        for name, one in sets.items()
    }
    result = {}
    for name, captions in systems.items():
        said = vectors[[rows[c] for c in captions]]
        spoken = np.array([bool(c.strip()) for c in captions])
        truth = truths.get(name, truths[""])
        if pairs:
            result[name] = np.where(spoken[:, None], said @ truth.T, 0.0)
        else:
            result[name] = np.where(spoken, np.einsum("cw,cw->c", said, truth), 0.0)
    return result
