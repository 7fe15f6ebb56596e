"""Layout of tables on the page: table 1 by kind, the model's lead, and any other table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.evaluate.names import COMPARED, KINDS
from llm4brain.evaluate.table import MEAN
from llm4brain.report import glossary
from llm4brain.report.cells import NO_NUMBER, compact, numeric
from llm4brain.report.draw import WIDTH, Interval, ends, intervals
from llm4brain.report.findings import MODEL

LOW, HIGH = "_low", "_high"


@dataclass(frozen=True)
class Cell:
    """A number as text, the ends of its interval and a drawing of both (each "" if missing)."""

    text: str
    ends: str = ""
    drawing: str = ""


@dataclass(frozen=True)
class Row:
    """One row of table 1; `subject` is a label or `mean`."""

    system: str
    about: str
    subject: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Group:
    """Rows of one kind."""

    kind: str
    title: str
    rows: Sequence[Row]


def column_axes(table: pd.DataFrame, *more: str) -> dict[str, tuple[float, float]]:
    """Axis ends for all drawings of a metric, by metric.

    Args:
        more: suffixes of further columns that are drawn, e.g. "_floor".
    """
    shown = ("", LOW, HIGH, *more)
    return {m: ends(table[[f"{m}{end}" for end in shown]].to_numpy().ravel()) for m in COMPARED}


def axes_told(axes: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Axis ends as text, by metric."""
    return {metric: " to ".join(map(compact, between)) for metric, between in axes.items()}


def by_kind(cells: pd.DataFrame) -> list[Group]:
    """Table 1 with its main metrics: one row per system with the mean, then one per subject.

    Args:
        cells: table 1 as text.
    """
    table = numeric(cells)
    axes = column_axes(table)
    groups = []
    for kind in KINDS:
        rows = []
        for system, own in table[table["kind"] == kind].groupby("system", sort=False):
            about = glossary.SYSTEMS.get(system, "")
            subjects = own[own["subject"] != MEAN].to_dict("records")
            ordered = [*own.index[own["subject"] == MEAN], *own.index[own["subject"] != MEAN]]
            for i in ordered:
                found, text = own.loc[i].to_dict(), cells.loc[i].to_dict()
                mean = found["subject"] == MEAN
                drawn = [
                    intervals(
                        [interval(r, m) for r in (subjects if mean else [found])],
                        axes[m],
                        found[m] if mean else None,
                    )
                    for m in COMPARED
                ]
                row = [
                    Cell(text[m], _ends(text, m), d) for m, d in zip(COMPARED, drawn, strict=True)
                ]
                rows.append(Row(system, about, found["subject"], row))
        if rows:
            groups.append(Group(kind, glossary.KINDS[kind], rows))
    return groups


@dataclass(frozen=True)
class Lead:
    """The model's lead over one system: one drawing per metric, and for how many subjects it is
    ahead (the whole interval above zero), level, or behind."""

    other: str
    kind: str
    about: str
    cells: Sequence[Cell]


def leads(lead: pd.DataFrame, table: pd.DataFrame) -> list[Lead]:
    """The model minus every other system, clip by clip, in the order of table 1. The model with a
    single showing per clip is compared with the ridge with a single showing.

    Args:
        lead: table1_lead.csv with numeric values.
        table: table 1.
    """
    axes = {}
    for metric in COMPARED:
        of_metric = lead[lead["metric"] == metric]
        axes[metric] = ends([v for c in ("difference", "low", "high") for v in of_metric[c]])
    kinds = table.drop_duplicates("system").set_index("system")["kind"]
    found = []
    for other in [s for s in kinds.index if s in set(lead["other"])]:
        of_other = lead[lead["other"] == other]
        systems = set(of_other["system"])
        system = MODEL if MODEL in systems else min(systems)
        of_other = of_other[of_other["system"] == system]
        cells = [drawn_lead(of_other[of_other["metric"] == m], axes[m]) for m in COMPARED]
        about = kinds[other] if system == MODEL else f"{kinds[other]}; {system} minus it"
        found.append(Lead(other, kinds[other], about, cells))
    return found


def drawn_lead(own: pd.DataFrame, axis: tuple[float, float], width: int = WIDTH) -> Cell:
    """Differences with their intervals, as drawings and counts.

    Args:
        own: subject, difference, low, high; one row per subject.
        axis: ends of the common axis of a column.
        width: of the drawing, px.
    """
    rows = own.to_dict("records")
    drawn = [Interval(f"sub-{r['subject']}", r["difference"], r["low"], r["high"]) for r in rows]
    counted = {"ahead": sum(r["low"] > 0 for r in rows), "behind": sum(r["high"] < 0 for r in rows)}
    known = sum(bool(np.isfinite([r["low"], r["high"]]).all()) for r in rows)
    counted |= {"level": known - sum(counted.values()), "with no interval": len(rows) - known}
    text = ", ".join(f"{n} {word}" for word, n in counted.items() if n) or NO_NUMBER
    return Cell(text, drawing=intervals(drawn, axis, zero=True, width=width) if rows else "")


def interval(row: Mapping[str, Any], metric: str) -> Interval:
    between = (row[f"{metric}{LOW}"], row[f"{metric}{HIGH}"])
    return Interval(f"sub-{row['subject']}", row[metric], *between)


def _ends(text: Mapping[str, str], metric: str) -> str:
    low, high = text[f"{metric}{LOW}"], text[f"{metric}{HIGH}"]
    return "" if {low, high} & {NO_NUMBER, ""} else f"[{low}, {high}]"


@dataclass(frozen=True)
class Plain:
    """An unmodified table: headings, which of them are numeric, rows of (text, interval ends)."""

    heads: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[tuple[str, str]]]
    kinds: Sequence[str]


def plain(cells: pd.DataFrame) -> Plain:
    """Any table of text; columns `_low` and `_high` are shown as interval ends of their column."""
    stems = [c for c in cells if {c + LOW, c + HIGH} <= set(cells)]
    taken = {stem + end for stem in stems for end in (LOW, HIGH)}
    columns = [c for c in cells if c not in taken]
    kinds = numeric(cells).dtypes
    return Plain(
        [glossary.metric_name(c) for c in columns],
        [pd.api.types.is_numeric_dtype(kinds[c]) for c in columns],
        [
            [(row[c], _ends(row, c) if c in stems else "") for c in columns]
            for row in cells.to_dict("records")
        ],
        cells["kind"].tolist() if "kind" in cells else [""] * len(cells),
    )
