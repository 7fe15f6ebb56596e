"""Captions of train clips as answers: floors, and the clip nearest to a reading."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from llm4brain.evaluate.retrieval import correlations

SIGMA = 6.0  # words; width of CIDEr-D's length penalty


def _words(caption: str) -> str:
    """Lower case, without punctuation; close enough to PTB tokens for choosing a caption."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)?", caption.lower()))


def consensus(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Mean CIDEr-D of each candidate over all clips, without CIDEr-D's clipping of repeats.

    The mean of cosines over references is a product with the mean reference vector, so thousands
    of candidates cost no more than one.

    Args:
        candidates: captions.
        references: captions of each clip.

    Returns:
        Shape (candidates,), 0-1.
    """
    flat = [_words(c) for own in references for c in own]
    said = [_words(c) for c in candidates]
    clip = np.repeat(np.arange(len(references)), [len(own) for own in references])
    share = 1 / np.bincount(clip)[clip] / len(references)  # equal weight for each clip
    lengths = np.array([len(c.split()) for c in flat])
    own_lengths = np.array([len(c.split()) for c in said])
    of_clip = sparse.csr_matrix((np.ones(len(flat)), (clip, np.arange(len(flat)))))
    total = np.zeros(len(said))
    for n in range(1, 5):
        counter = CountVectorizer(ngram_range=(n, n), token_pattern=r"\S+", lowercase=False)
        try:
            counts = counter.fit_transform(flat)
        except ValueError:  # no caption has n words
            continue
        document_frequency = np.asarray((of_clip @ counts > 0).sum(axis=0)).ravel()
        idf = sparse.diags(np.log(len(references) / document_frequency))
        rows = normalize(counts @ idf)
        asked = normalize(counter.transform(said) @ idf)
        for length in np.unique(lengths):
            here = np.where(lengths == length, share, 0.0)
            gauss = np.exp(-((own_lengths - length) ** 2) / (2 * SIGMA**2))
            total += gauss * (asked @ (rows.T @ here)) / 4
    return total


def constant_caption(references: Sequence[Sequence[str]]) -> str:
    """The train caption that fits all train clips best: a floor that only knows the style."""
    candidates = sorted({c for own in references for c in own})
    return candidates[int(np.argmax(consensus(candidates, references)))]


def typical_captions(references: Sequence[Sequence[str]]) -> list[str]:
    """For each clip, the caption most similar to its other captions."""
    flat = [c for own in references for c in own]
    features = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
    vectors = normalize(features.fit_transform([_words(c) for c in flat]).astype(float))
    chosen, start = [], 0
    for own in references:
        rows = vectors[start : start + len(own)]
        agreement = np.asarray(rows @ np.asarray(rows.sum(axis=0)).ravel()).ravel()
        chosen.append(own[int(np.argmax(np.round(agreement, 9)))])
        start += len(own)
    return chosen


def random_clips(n_train: int, n_test: int, seed: Sequence[int]) -> np.ndarray:
    """A random train clip for each test clip: shape (n_test,)."""
    return np.random.default_rng(list(seed)).integers(n_train, size=n_test)


def nearest(readings: np.ndarray, train: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Index of the train clip that correlates best with each reading: shape (n,).

    Args:
        readings, train, norms: as in `correlations`.
    """
    return np.argmax(np.round(correlations(readings, train, norms), 9), axis=1)
