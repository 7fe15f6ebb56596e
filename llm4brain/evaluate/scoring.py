"""From what systems say of a subject's test clips to metrics, intervals and predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.config import EvaluateSettings
from llm4brain.errors import UserError
from llm4brain.evaluate import bootstrap
from llm4brain.evaluate.captions import caption_metrics, caption_statistics
from llm4brain.evaluate.names import CAPTION_METRICS, CENTRE, COMPARED, KINDS, METRICS, TRUTH
from llm4brain.evaluate.references import references_of
from llm4brain.evaluate.retrieval import chance, retrieval
from llm4brain.evaluate.similarity import Encoder, similarity

PER_CLIP = ("cider", "similarity", "rouge_l", "top1", "top5")
DIGITS = 6


@dataclass(frozen=True)
class Scores:
    """A scoring of one subject.

    Attributes:
        predictions: system -> clip_id, subject, system, kind, text, references (JSON list), then
            the metrics that a single clip has (`PER_CLIP`).
        systems: system -> kind, n_clips, the metrics, `<metric>_low` and `<metric>_high`.
        differences: model -> other system -> metric, `_low`, `_high` of model minus other, both
            on the same resamples.
    """

    predictions: dict[str, pd.DataFrame]
    systems: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, dict[str, Any]]]


def _plain(value: float) -> float | None:
    """Rounded, so that the last bits of a sum are not published; None where not a number."""
    return round(float(value), DIGITS) + 0.0 if np.isfinite(value) else None


def _texts(decoded: pd.DataFrame) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """Clips, kind of each system, text of each system and clip; checks that it is whole."""
    if decoded.empty:
        raise UserError("decoded", "holds no row", "decode again")
    where, todo = "decoded", "decode again"
    clip_ids = list(dict.fromkeys(decoded["clip_id"]))
    kinds, texts = {}, {}
    for system, own in decoded.groupby("system", sort=True):
        system = str(system)
        if system in (CENTRE, TRUTH) or not system.isidentifier():
            wrong = f"'{system}' cannot be the name of a system"
            raise UserError(where, wrong, "use letters, digits and _, not centre or truth")
        if sorted(own["clip_id"]) != sorted(clip_ids):
            wrong = f"'{system}' does not have each of the {len(clip_ids)} clips once"
            raise UserError(where, wrong, todo)
        kind = set(own["kind"])
        if len(kind) != 1 or not kind <= set(KINDS):
            wrong = f"'{system}' has the kind {', '.join(map(str, sorted(kind, key=str)))}"
            raise UserError(where, wrong, f"use one of {', '.join(KINDS)}")
        kinds[system] = kind.pop()
        said = own.set_index("clip_id")["text"].reindex(clip_ids)
        texts[system] = ["" if pd.isna(text) else str(text) for text in said]
    return clip_ids, kinds, texts


def _retrieved(
    arrays: Mapping[str, np.ndarray], order: list[str], clip_ids: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Retrieval credit of each system that has a reading, in the order of `clip_ids`."""
    for name in (TRUTH, CENTRE):
        if name not in arrays:
            raise UserError("readings", f"hold no array '{name}'", "decode again")
    if sorted(order) != sorted(clip_ids):
        wrong = f"are of {len(order)} clips that are not the {len(clip_ids)} decoded ones"
        raise UserError("readings", wrong, "decode again")
    at = {clip: i for i, clip in enumerate(order)}
    rows = [at[clip] for clip in clip_ids]
    result = {}
    for name in sorted(set(arrays) - {CENTRE}):
        if len(arrays[name]) != len(order):
            wrong = f"'{name}' has {len(arrays[name])} rows for {len(order)} clips"
            raise UserError("readings", wrong, "decode again")
        if name != TRUTH:
            result[name] = retrieval(arrays[name][rows], arrays[TRUTH][rows], arrays[CENTRE])
    return result


def score(
    decoded: pd.DataFrame,
    readings: Sequence[tuple[Mapping[str, np.ndarray], list[str]]],
    captions: pd.DataFrame,
    subject: str,
    encode: Encoder,
    settings: EvaluateSettings,
    seed: int,
    author: str | None = None,
) -> Scores:
    """Score all systems of a subject on the same clips, references and resamples.

    Args:
        decoded: clip_id, system, kind, text.
        readings: of each readings file its arrays, `<system>` and `truth` (clips, D), `centre`
            (D,), and clip_id of their rows. A system without an array gets chance.
        captions: clip_id, caption: the references.
        subject: label.
        encode: see `llm4brain.evaluate.similarity.sentence_encoder`.
        settings: block length and number of resamples.
        seed: of the resamples.
        author: the system that wrote the references, if one did: its words are scored by nobody.

    Raises:
        UserError: systems, readings or references are not of the same clips.
    """
    clip_ids, kinds, texts = _texts(decoded)
    references = references_of(captions, clip_ids)
    retrieved: dict[str, dict[str, np.ndarray]] = {}
    for arrays, order in readings:
        retrieved |= _retrieved(arrays, order, clip_ids)
    block = bootstrap.blocks(clip_ids, settings.block)
    n_blocks = int(block.max()) + 1
    weights = bootstrap.resample(block, settings.samples, seed)
    # row 0: the test set itself, each clip once
    weights = np.concatenate([np.ones((1, len(clip_ids))), weights])
    n = weights.sum(axis=1)

    statistics = caption_statistics(texts, references)
    alike = similarity(texts, references, encode)
    clips: dict[str, dict[str, np.ndarray]] = {}
    corpora: dict[str, dict[str, np.ndarray]] = {}
    for name in texts:
        found = retrieved.get(name) or chance(len(clip_ids))
        own = {"similarity": alike[name], **found}
        corpora[name] = caption_metrics(statistics[name], weights) | {
            metric: weights @ values / n for metric, values in own.items()
        }
        clips[name] = own | {
            "cider": statistics[name].cider,
            "rouge_l": statistics[name].rouge_l,
        }

    def summary(values: np.ndarray, metric: str) -> dict[str, float | None]:
        low, high = bootstrap.interval(values[1:], n_blocks)
        ends = {f"{metric}_low": _plain(low), f"{metric}_high": _plain(high)}
        return {metric: _plain(values[0]), **ends}

    systems = {}
    for name, kind in kinds.items():
        systems[name] = {"kind": kind, "n_clips": len(clip_ids)}
        for metric in METRICS:
            systems[name] |= summary(corpora[name][metric], metric)
    if author in systems:
        for metric in (*CAPTION_METRICS, "similarity"):
            systems[author] |= {metric: None, f"{metric}_low": None, f"{metric}_high": None}
    differences = {
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
    quoted = [json.dumps(own, ensure_ascii=False) for own in references]
    predictions = {
        name: pd.DataFrame(
            {
                "clip_id": clip_ids,
                "subject": subject,
                "system": name,
                "kind": kinds[name],
                "text": texts[name],
                "references": quoted,
                **{metric: np.round(clips[name][metric], DIGITS) for metric in PER_CLIP},
            }
        )
        for name in texts
    }
    return Scores(predictions, systems, differences)
