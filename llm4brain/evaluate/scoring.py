"""Score the texts of all systems for a subject's test clips: metrics, intervals, predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.evaluate import bootstrap
from llm4brain.evaluate.captions import caption_metrics, caption_statistics
from llm4brain.evaluate.decoded import crossed, texts_of
from llm4brain.evaluate.diversity import diversity
from llm4brain.evaluate.names import (
    AMONG_100,
    CAPTION_METRICS,
    COMPARED,
    DIVERSITY,
    FURTHER,
    METRICS,
)
from llm4brain.evaluate.optional_metrics import BLIND, Measure
from llm4brain.evaluate.permutation import shuffled_p, shuffles
from llm4brain.evaluate.references import references_of
from llm4brain.evaluate.retrieval import chance, credit, retrieval
from llm4brain.evaluate.similarity import Encoder, similarity
from llm4brain.sections import EvaluateSettings

PER_CLIP = ("cider", "similarity", "rouge_l", "top1", "top5", *AMONG_100)
AGREEMENT = "agreement"  # a ceiling: one reference of a clip scored against the others
DIGITS = 6


@dataclass(frozen=True)
class Scores:
    """The scores of one subject.

    Attributes:
        predictions: system -> clip_id, subject, system, kind, text, references (JSON list), then
            the metrics defined for a single clip (`PER_CLIP`, and the available ones of `FURTHER`).
        systems: system -> kind, n_clips, the metrics, `<metric>_low` and `<metric>_high`; for the
            main metrics also `<metric>_p` against the shuffled null; diversity. `FURTHER` metrics
            that are not computed are None.
        differences: model -> other system -> metric, `_low`, `_high` of model minus other, on the
            same resamples.
    """

    predictions: dict[str, pd.DataFrame]
    systems: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, dict[str, Any]]]


def _plain(value: float) -> float | None:
    """Rounded, so that results do not depend on the last bits of a sum; None for NaN."""
    return round(float(value), DIGITS) + 0.0 if np.isfinite(value) else None


def _agreement(
    references: Sequence[Sequence[str]],
) -> tuple[list[str], list[list[str]]] | None:
    """The first reference of each clip as prediction, and the others; None if one has only one."""
    if any(len(own) < 2 for own in references):
        return None
    return [own[0] for own in references], [list(own[1:]) for own in references]


def _differences(
    corpora: Mapping[str, Mapping[str, np.ndarray]],
    kinds: Mapping[str, str],
    summary: Callable[[np.ndarray, str], dict[str, float | None]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Difference between each model and each other system, on the same resamples."""
    return {
        model: {
            other: {
                key: value
                for metric in COMPARED
                for key, value in summary(
                    corpora[model][metric] - corpora[other][metric], metric
                ).items()
            }
            for other in kinds
            if other != model
        }
        for model, kind in kinds.items()
        if kind == "model"
    }


def score(
    decoded: pd.DataFrame,
    readings: Sequence[tuple[Mapping[str, np.ndarray], list[str]]],
    captions: pd.DataFrame,
    subject: str,
    encode: Encoder,
    settings: EvaluateSettings,
    seed: int,
    author: str | None = None,
    agreement: bool = False,
    further: Mapping[str, Measure] | None = None,
    paraphrases: Path | None = None,
) -> Scores:
    """Score all systems of a subject on the same clips, references and resamples.

    Args:
        decoded: clip_id, system, kind, text.
        readings: for each readings file its arrays, `<system>` and `truth` (clips, r), `norms`
            (clips,), see `correlations`, and the clip_id of their rows. A system without an array
            gets chance level.
        captions: clip_id, caption: the references.
        subject: label.
        encode: see `llm4brain.evaluate.similarity.sentence_encoder`.
        settings: block length, numbers of resamples and permutations.
        seed: of both.
        author: the system that wrote the references, if any; its texts are not scored.
        agreement: also score the first reference of each clip against the others, as a ceiling.
        further: see `llm4brain.evaluate.optional_metrics.measures`.
        paraphrases: see `llm4brain.evaluate.java.meteor_statistics`.

    Raises:
        UserError: systems, readings or references have different clips.
    """
    clip_ids, kinds, texts = texts_of(decoded)
    references = references_of(captions, clip_ids)
    correlated: dict[str, np.ndarray] = {}
    for arrays, order in readings:
        correlated |= crossed(arrays, order, clip_ids)
    own: dict[str, list[list[str]]] = {}
    nobodys = {author} & set(texts)  # texts that are not scored
    if agreement:
        kinds[AGREEMENT], parted = "ceiling", _agreement(references)
        texts[AGREEMENT] = parted[0] if parted else [clip[0] for clip in references]
        if parted:
            own[AGREEMENT] = parted[1]
        else:
            nobodys.add(AGREEMENT)
    block = bootstrap.blocks(clip_ids, settings.block_seconds)
    n_blocks = int(block.max()) + 1
    weights = bootstrap.resample(block, settings.n_bootstrap, seed)
    # row 0: the test set itself, with each clip once
    weights = np.concatenate([np.ones((1, len(clip_ids))), weights])
    n = weights.sum(axis=1)
    orders = shuffles(block, settings.n_permutations, seed)

    statistics = caption_statistics(
        texts,
        references,
        own=own,
        pairs=True,
        meteor=settings.meteor,
        paraphrases=paraphrases,
    )
    alike = similarity(texts, references, encode, own)
    against = {name: own.get(name, references) for name in texts}
    measured = {m: of(clip_ids, texts, against) for m, of in (further or {}).items()}
    clips: dict[str, dict[str, np.ndarray]] = {}
    corpora: dict[str, dict[str, np.ndarray]] = {}
    p_values: dict[str, dict[str, float | None]] = {}
    for name in texts:
        scores = correlated.get(name)
        found = chance(clip_ids) if scores is None else retrieval(scores, clip_ids)
        if name == AGREEMENT:  # text only; its retrieval is unknown, not at chance
            found = {metric: np.full(len(clip_ids), np.nan) for metric in found}
        per_clip = {"similarity": np.diag(alike[name]), **found}
        per_clip |= {metric: of[name] for metric, of in measured.items()}
        corpora[name] = caption_metrics(statistics[name], weights) | {
            metric: weights @ values / n for metric, values in per_clip.items()
        }
        clips[name] = per_clip | {
            "cider": statistics[name].cider,
            "rouge_l": statistics[name].rouge_l,
        }
        pairs = {"cider": statistics[name].pairs, "similarity": alike[name]}
        if scores is not None:
            pairs["top1"] = credit(scores, 1)
        p_values[name] = {metric: shuffled_p(each, orders) for metric, each in pairs.items()}
        if name in nobodys:  # its texts are the references, so no scores
            referred = [m for m in measured if m not in BLIND or name == AGREEMENT]
            for metric in (*CAPTION_METRICS, "similarity", *referred):
                corpora[name][metric] = np.full(len(weights), np.nan)
                p_values[name][metric] = None
            for metric in ("cider", "rouge_l", "similarity", *referred):
                clips[name][metric] = np.full(len(clip_ids), np.nan)

    def summary(values: np.ndarray, metric: str) -> dict[str, float | None]:
        low, high = bootstrap.interval(values[1:], n_blocks)
        ends = {f"{metric}_low": _plain(low), f"{metric}_high": _plain(high)}
        return {metric: _plain(values[0]), **ends}

    systems: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        systems[name] = {"kind": kind, "n_clips": len(clip_ids)}
        systems[name] |= dict.fromkeys(FURTHER)
        for metric in (*METRICS, *AMONG_100, *measured):
            systems[name] |= summary(corpora[name][metric], metric)
        for metric in COMPARED:
            systems[name][f"{metric}_p"] = p_values[name].get(metric)
        systems[name] |= {key: _plain(v) for key, v in diversity(texts[name]).items()}
        if name in nobodys:
            systems[name] |= dict.fromkeys(DIVERSITY)
    quoted = {
        name: [json.dumps(clip, ensure_ascii=False) for clip in against[name]] for name in texts
    }
    predictions = {
        name: pd.DataFrame(
            {
                "clip_id": clip_ids,
                "subject": subject,
                "system": name,
                "kind": kinds[name],
                "text": texts[name],
                "references": quoted[name],
                **{m: np.round(clips[name][m], DIGITS) for m in (*PER_CLIP, *measured)},
            }
        )
        for name in texts
    }
    return Scores(predictions, systems, _differences(corpora, kinds, summary))
