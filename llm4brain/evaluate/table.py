"""Table 1: one row per system and subject, and one for the mean over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.names import (
    AMONG_100,
    COMPARED,
    DIVERSITY,
    FURTHER,
    KINDS,
    METRICS,
    P_VALUES,
)

MEAN = "mean"
NO_NUMBER = "n/a"
ENDS = tuple(f"{metric}_{end}" for metric in COMPARED for end in ("low", "high"))
MORE = (*AMONG_100, *DIVERSITY, *P_VALUES, *FURTHER)
# metric -> the setting that enables it
SETTING = {"meteor": "meteor", "spice": "corenlp", "bertscore": "bertscore"}
SETTING["clip_score"] = "clip_model"
COLUMNS = ("system", "kind", "subject", "n_clips", *METRICS, *ENDS, *MORE, "references", "data")


def _digits(column: str) -> int:
    """Number of decimals: two for 0-100 metrics, four for cosines."""
    return 4 if column.startswith("similarity") else 2


def _text(column: str, value: Any) -> str:
    """A cell with a fixed number of decimals; `n/a` if there is no value."""
    if column not in (*METRICS, *ENDS, *MORE):
        return str(value)
    if value is None or not np.isfinite(value):
        return NO_NUMBER
    if column in P_VALUES:
        return f"{float(value):.2g}"
    # adding 0.0 turns -0.0 into 0.0
    return f"{round(float(value), _digits(column)) + 0.0:.{_digits(column)}f}"


def table1(scored: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Arrange metrics as table 1, with all cells as text.

    The mean over subjects has no interval and no p: few subjects do not support claims about a
    population, and the mean of interval ends is not an interval.

    Args:
        scored: file name -> its metrics.json: subject, references, data, systems.

    Returns:
        `COLUMNS`; rows ordered by kind (model, baseline, floor, ceiling), system, subject with
        the mean last.

    Raises:
        UserError: a file is incomplete, a system is scored twice for a subject, or references or
            data differ.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for where, metrics in scored.items():
        try:
            shared = {k: metrics[k] for k in ("subject", "references", "data")}
            for system, own in metrics["systems"].items():
                key = (system, shared["subject"])
                if key in rows:
                    wrong = f"scores {system} of subject {key[1]} a second time"
                    raise UserError(where, wrong, "give each metrics.json once, of one arm")
                cells = {k: own[k] for k in ("kind", "n_clips", *METRICS, *ENDS, *MORE)}
                rows[key] = {"system": system, **shared, **cells}
        except KeyError as error:
            raise UserError(where, f"holds no {error}", "score again") from None
    if not rows:
        raise UserError("--metrics", "no system is scored", "score one first")
    for name in ("references", "data"):
        found = sorted({row[name] for row in rows.values()})
        if len(found) > 1:
            wrong = f"{name} differ: {', '.join(found)}"
            raise UserError("--metrics", wrong, "scores against them cannot share a table")
    every = [*rows.values(), *_means(list(rows.values()))]
    every.sort(
        key=lambda r: (KINDS.index(r["kind"]), r["system"], r["subject"] == MEAN, r["subject"])
    )
    return pd.DataFrame([{c: _text(c, row[c]) for c in COLUMNS} for row in every])


def _means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per system: the mean over its subjects; n_clips is the sum."""
    result = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        mean = dict(own[0]) | {"subject": MEAN, "n_clips": sum(row["n_clips"] for row in own)}
        averaged = (*METRICS, *AMONG_100, *DIVERSITY, *FURTHER)
        mean |= {m: _mean([row[m] for row in own]) for m in averaged}
        result.append(mean | dict.fromkeys((*ENDS, *P_VALUES)))
    return result


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def leading(table: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """System -> mean of the main metrics over subjects, for `dvc metrics`, which prints them in one
    line."""
    return {
        row["system"]: {m: None if row[m] == NO_NUMBER else float(row[m]) for m in COMPARED}
        for row in table.to_dict("records")
        if row["subject"] == MEAN
    }


def left_out(table: pd.DataFrame) -> list[str]:
    """A line for each column without any value: the reason, and what to do about it."""
    return [
        f"{column} is n/a: nothing was scored with evaluate.{setting} (docs/evaluation.md)"
        for column, setting in SETTING.items()
        if (table[column] == NO_NUMBER).all()
    ]


def taken(scored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each ridge with the options chosen on validation.

    Args:
        scored: as for `table1`.
    """
    return [
        f"sub-{metrics['subject']}: {name} took {took['said']}, penalty {took['penalty']:.3g}"
        for metrics in scored.values()
        for name, took in metrics.get("ridge", {}).items()
    ]


def summary(table: pd.DataFrame) -> str:
    """The table for the log: main metrics first, intervals in brackets; then the empty columns with
    the reasons."""
    shown = table[["system", "kind", "subject", "n_clips"]].copy()
    for metric in (*COMPARED, "top5", "meteor", "bleu4"):
        shown[metric] = table[metric]
        if metric in COMPARED:
            ends = zip(table[f"{metric}_low"], table[f"{metric}_high"], strict=True)
            shown[metric] += [f" [{low}, {high}]" if low != NO_NUMBER else "" for low, high in ends]
    return "\n".join([shown.to_string(index=False), *left_out(table)])
