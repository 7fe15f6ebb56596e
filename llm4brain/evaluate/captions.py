"""BLEU, METEOR, ROUGE-L and CIDEr-D as in pycocoevalcap, computed from statistics of each clip.

Each corpus metric is a function of sums over clips. The terms of these sums are computed once
(`caption_statistics`). The metrics of a corpus and of every bootstrap resample then only need array
arithmetic (`caption_metrics`). All use the 0-100 scale of papers: pycocoevalcap's value times 100.

Sources: Papineni et al. 2002 (BLEU), Denkowski & Lavie 2014 (METEOR 1.5), Lin 2004 (ROUGE-L),
Vedantam et al. 2015 (CIDEr-D), Chen et al. 2015 (the COCO caption server).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from llm4brain.errors import UserError
from llm4brain.evaluate.cider import cider_pairs
from llm4brain.evaluate.java import METEOR_STATISTICS, meteor_statistics, tokenise

# METEOR 1.5's parameters for English, task "rank"; stages: exact, stem, synonym, paraphrase
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
LEAST_CIDER = 2  # clips: the words of a single one are in every clip, and so weigh nothing


@dataclass(frozen=True)
class CaptionStatistics:
    """Contributions of a system's captions, clip by clip.

    Attributes:
        bleu: shape (clips, 10): matching n-grams, n = 1..4; n-grams; words; words of the
            reference with the closest length.
        meteor: shape (clips, 23), see `llm4brain.evaluate.java.meteor_statistics`.
        rouge_l: shape (clips,), 0-100.
        cider: shape (clips,), 0-100, document frequencies from the references of all clips.
        pairs: shape (clips, clips), CIDEr of caption i at clip j; None if not requested.
    """

    bleu: np.ndarray
    meteor: np.ndarray
    rouge_l: np.ndarray
    cider: np.ndarray
    pairs: np.ndarray | None = None


def caption_statistics(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    own: Mapping[str, Sequence[Sequence[str]]] | None = None,
    pairs: bool = False,
    meteor: bool = True,
    paraphrases: Path | None = None,
) -> dict[str, CaptionStatistics]:
    """Statistics of every system's captions. Java is started twice for any number of systems.

    Args:
        systems: name -> a caption for each clip, which may be empty.
        references: one or more captions for each clip.
        own: system -> its own references, replacing `references`.
        meteor: whether to run METEOR; otherwise its statistics are NaN.
        paraphrases: see `llm4brain.evaluate.java.meteor_statistics`.
        pairs: also compute CIDEr of every caption at every clip, for permutations.

    Raises:
        UserError: numbers of clips differ, or a reference contains no word.
    """
    for name, captions in systems.items():
        if len(captions) != len(references):
            wrong = f"has {len(captions)} captions for {len(references)} clips"
            raise UserError(f"system {name}", wrong, "decode it again")
    sets = {"": references, **(own or {})}
    flat = [caption for one in sets.values() for clip in one for caption in clip]
    tokens = tokenise([*flat, *(c for captions in systems.values() for c in captions)])
    if not all(map(len, references)) or not all(tokens[: len(flat)]):
        raise UserError("captions", "a clip's references are empty", "give each clip a caption")
    found = iter(tokens)
    truths = {name: [[next(found) for _ in clip] for clip in one] for name, one in sets.items()}
    said = {name: [next(found) for _ in captions] for name, captions in systems.items()}
    against = {name: truths.get(name, truths[""]) for name in said}

    every = [caption for captions in said.values() for caption in captions]
    counts = np.full((len(every), METEOR_STATISTICS), np.nan)
    if meteor:
        flat = [clip for name in said for clip in against[name]]
        counts = meteor_statistics(every, flat, paraphrases)
    # the jar's sums omit the single chunk of a caption that equals its reference
    whole = (counts[:, 21:23] == counts[:, 0:2]).all(axis=1) & (counts[:, 20] == 1)
    counts[whole, 20] = 0
    parts = np.split(counts, len(said))
    return {
        name: _statistics(captions, against[name], part, pairs)
        for (name, captions), part in zip(said.items(), parts, strict=True)
    }


def _statistics(
    captions: list[str], truth: list[list[str]], meteor: np.ndarray, pairs: bool
) -> CaptionStatistics:
    """Statistics of one system, from tokenised captions and references."""
    gts = dict(enumerate(truth))
    res = {clip: [caption] for clip, caption in enumerate(captions)}
    rouge = Rouge()
    crossed = cider_pairs(captions, truth) if pairs else None
    return CaptionStatistics(
        bleu=np.stack([_bleu(c, cook_refs(r)) for c, r in zip(captions, truth, strict=True)]),
        meteor=meteor,
        rouge_l=100 * np.array([rouge.calc_score(res[k], gts[k]) for k in gts]),
        cider=np.diag(crossed)
        if crossed is not None
        else 100 * np.asarray(Cider().compute_score(gts, res)[1]),
        pairs=crossed,
    )


def _bleu(caption: str, cooked: tuple) -> np.ndarray:
    """One row of `CaptionStatistics.bleu`."""
    found = cook_test(caption, cooked)
    words = found["testlen"]
    closest = min((abs(length - words), length) for length in found["reflen"])[1]
    return np.array([*found["correct"], *found["guess"], words, closest], dtype=float)


def caption_metrics(
    statistics: CaptionStatistics, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The metrics of one corpus, or of many that contain the clips with given counts.

    Args:
        statistics: of each clip.
        weights: shape (corpora, clips), how often each corpus contains each clip; default: one
            corpus with each clip once.

    Returns:
        Metric -> shape (corpora,), 0-100; CIDEr is not a number for less than `LEAST_CIDER` clips.
    """
    if weights is None:
        weights = np.ones((1, len(statistics.cider)))
    n = weights.sum(axis=1)
    bleu = _corpus_bleu(weights @ statistics.bleu)
    return {
        **{f"bleu{k + 1}": 100 * bleu[:, k] for k in range(4)},
        "meteor": 100 * _corpus_meteor(weights @ statistics.meteor),
        "rouge_l": weights @ statistics.rouge_l / n,
        "cider": weights @ statistics.cider / n
        if len(statistics.cider) >= LEAST_CIDER
        else np.full(len(weights), np.nan),
    }


def _corpus_bleu(sums: np.ndarray) -> np.ndarray:
    """(corpora, 10) -> (corpora, 4), with pycocoevalcap's `small` and `tiny`."""
    small, tiny = 1e-9, 1e-15
    precisions = (sums[:, :4] + tiny) / (sums[:, 4:8] + small)
    means = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, 5))
    ratio = (sums[:, 8] + tiny) / (sums[:, 9] + small)
    return means * np.exp(np.minimum(0, 1 - 1 / ratio))[:, None]


def _corpus_meteor(sums: np.ndarray) -> np.ndarray:
    """(corpora, 23) -> (corpora,): harmonic mean of weighted precision and recall, fragmentation.

    As in METEOR 1.5's jar for aggregated statistics; 0 if nothing matches.
    """
    length, function = sums[:, 0:2], sums[:, 2:4]
    stages = sums[:, 4:20].reshape(-1, 4, 2, 2)  # (corpora, stage, content | function, side)
    content = np.array([DELTA, 1 - DELTA])
    matched = np.einsum("nskt,s,k->nt", stages, STAGES, content)
    weighed = DELTA * (length - function) + (1 - DELTA) * function
    chunks, words = sums[:, 20], sums[:, 21:23]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (matched / weighed).T
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragments = chunks / words.mean(axis=1)
    score = mean * (1 - GAMMA * fragments**BETA)
    # 0 if nothing matches, but NaN statistics stay NaN
    return np.where(np.isnan(sums[:, 0]), np.nan, np.nan_to_num(score, nan=0.0))
