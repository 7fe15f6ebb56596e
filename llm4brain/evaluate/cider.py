"""CIDEr-D of every caption against every clip's references, as sparse matrices.

A permutation test assigns captions to other clips thousands of times. With the scores of all pairs,
each permutation is a sum. The scores equal those of pycocoevalcap (document frequencies, clipping,
length penalty), which computes only the diagonal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pycocoevalcap.cider.cider_scorer import precook
from scipy import sparse

ORDERS = 4
SIGMA = 6.0


def _counts(captions: Sequence[Counter], vocabulary: dict) -> sparse.csr_matrix:
    """(captions, vocabulary): count of each n-gram in each caption."""
    rows = [(i, vocabulary[g], c) for i, own in enumerate(captions) for g, c in own.items()]
    where = np.array([(i, j) for i, j, _ in rows], dtype=np.int64).reshape(-1, 2)
    values = np.array([c for _, _, c in rows], dtype=np.float64)
    shape = (len(captions), len(vocabulary))
    return sparse.csr_matrix((values, (where[:, 0], where[:, 1])), shape)


def cider_pairs(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of caption i against the references of clip j, 0-100 as in papers.

    Args:
        captions: tokenised, any number.
        references: tokenised, one or more for each clip.

    Returns:
        Shape (captions, clips).

    Source: Vedantam et al. 2015; pycocoevalcap.cider.cider_scorer, value times 100.
    """
    sizes = [len(own) for own in references]
    flat = [text for own in references for text in own]
    said = [Counter(precook(text, ORDERS)) for text in captions]
    truth = [Counter(precook(text, ORDERS)) for text in flat]
    lengths = [
        np.array([sum(c for gram, c in own.items() if len(gram) == 2) for own in part])
        for part in (said, truth)
    ]
    penalty = np.exp(-((lengths[0][:, None] - lengths[1][None]) ** 2) / (2 * SIGMA**2))
    clip = np.repeat(np.arange(len(sizes)), sizes)
    total = np.zeros((len(captions), len(flat)))
    for n in range(1, ORDERS + 1):
        own = [
            [{g: c for g, c in x.items() if len(g) == n} for x in part] for part in (said, truth)
        ]
        vocabulary = {
            g: k for k, g in enumerate(dict.fromkeys(g for p in own for x in p for g in x))
        }
        if not vocabulary:
            continue
        hypothesis, reference = (_counts(part, vocabulary) for part in own)
        # number of clips (not captions) with an n-gram
        member = sparse.csr_matrix((np.ones(len(flat)), (clip, np.arange(len(flat)))))
        frequency = np.asarray(((member @ reference) > 0).sum(axis=0)).ravel()
        weight = np.log(len(sizes)) - np.log(np.maximum(1.0, frequency))
        norms = [
            np.sqrt(np.asarray(m.power(2) @ weight**2)).ravel() for m in (hypothesis, reference)
        ]
        dot = np.zeros(total.shape)
        # for counts, min(a, b) b is the sum over levels k of [a >= k] [b >= k] b
        for level in range(1, int(min(hypothesis.max(), reference.max())) + 1):
            left = (hypothesis >= level).astype(float) @ sparse.diags(weight**2)
            dot += (left @ (reference >= level).multiply(reference).T).toarray()
        scale = norms[0][:, None] * norms[1][None]
        total += np.divide(dot, scale, out=dot, where=scale > 0) * penalty
    mean = sparse.csr_matrix((1 / np.repeat(sizes, sizes), (np.arange(len(flat)), clip)))
    return 100 * 10 / ORDERS * (total @ mean)
