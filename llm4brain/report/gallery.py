"""All test clips with the text of each system, without any selection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.names import COMPARED
from llm4brain.report.findings import MODEL
from llm4brain.report.glossary import SAID


@dataclass(frozen=True)
class Line:
    """Text of one system for a clip, and its scores: metric -> text, including n/a."""

    system: str
    name: str
    text: str
    scores: Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """One subject's part of a card; `scores` are those of the model, "" if there is none."""

    subject: str
    scores: Mapping[str, str]
    found: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Card:
    """A clip. `place` is its position in a shuffled order determined by the seed."""

    clip_id: str
    film: str
    onset: float
    end: float
    place: int
    references: Sequence[str]
    readings: Sequence[Reading]


def cards(
    clips: pd.DataFrame, predictions: Mapping[str, Mapping[str, pd.DataFrame]], seed: int
) -> list[Card]:
    """All test clips, in the order of the films.

    Args:
        clips: the clip table; clips without any prediction are left out, as in the scores.
        predictions: subject -> system -> its predictions file.
        seed: of the shuffled order.

    Raises:
        UserError: a decoded clip is not in the clip table, or the model has no text.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for subject, systems in predictions.items():
        if MODEL not in systems:
            raise UserError(f"sub-{subject}", f"has no predictions of `{MODEL}`", "decode it")
        for system in (s for s in SAID if s in systems):
            for row in systems[system].to_dict("records"):
                rows.setdefault(row["clip_id"], {}).setdefault(subject, {})[system] = row
    known = clips.drop_duplicates("clip_id").set_index("clip_id")
    if lost := sorted(set(rows) - set(known.index)):
        raise UserError("clip table", f"has no {lost[0]}, which was decoded", "decode again")
    order = [clip for clip in known.index if clip in rows]
    places = np.random.default_rng(seed).permutation(len(order))
    return [
        Card(
            clip_id=clip,
            film=str(known.loc[clip, "stim_file"]).rpartition(".")[0],
            onset=float(known.loc[clip, "onset"]),
            end=float(known.loc[clip, "onset"] + known.loc[clip, "duration"]),
            place=int(place),
            references=_references(rows[clip]),
            readings=[_reading(s, own) for s, own in rows[clip].items() if MODEL in own],
        )
        for clip, place in zip(order, places, strict=True)
    ]


def _references(of_subjects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The references of the clip, without duplicates; they are the same for all subjects."""
    first = next(iter(next(iter(of_subjects.values())).values()))
    return list(dict.fromkeys(json.loads(first["references"])))


def _reading(subject: str, own: Mapping[str, Mapping[str, Any]]) -> Reading:
    model = own[MODEL]
    credit = model["top1"]
    # clips that match equally well share the credit
    found = (
        "" if not np.isfinite(credit) else "yes" if credit == 100 else "no" if not credit else ""
    )
    lines = [
        Line(
            system=system,
            name=SAID[system],
            text=row["text"] if isinstance(row["text"], str) and row["text"].strip() else "",
            scores={m: _score(m, row[m]) or "n/a" for m in ("cider", "similarity")},
        )
        for system, row in own.items()
    ]
    return Reading(subject, {m: _exact(model[m]) for m in COMPARED}, found, lines)


def _score(metric: str, value: float) -> str:
    """Score of a clip beside its text; CIDEr of a single clip needs no decimals."""
    if not np.isfinite(value):
        return ""
    return f"{value + 0.0:.2f}" if metric == "similarity" else f"{value + 0.0:.0f}"


def _exact(value: float) -> str:
    """A number used for sorting."""
    return f"{value + 0.0:.6g}" if np.isfinite(value) else ""
