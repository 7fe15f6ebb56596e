"""The main result in sentences, derived from table 1 and the model's lead over other systems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.names import COMPARED
from llm4brain.evaluate.table import MEAN
from llm4brain.report.cells import said
from llm4brain.report.glossary import METRICS

RIDGE, MODEL, VIDEO = "ridge", "model", "video"


@dataclass(frozen=True)
class Verdict:
    """Comparison of the model with one other system in one metric.

    Attributes:
        metric: name of a main metric.
        other: the system with which it is compared.
        above, level, below: subjects whose interval is above zero, includes zero, is below zero.
        open: subjects without an interval.
        leads: "sub-01 +37 [25, 50]", one per subject.
    """

    metric: str
    other: str
    above: tuple[str, ...]
    level: tuple[str, ...]
    below: tuple[str, ...]
    open: tuple[str, ...]
    leads: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The comparison in words; intervals that include zero are named as such."""
        n, name = len(self.leads), METRICS[self.metric]
        subjects = {1: "the one subject", 2: "both subjects"}.get(n, f"all {n} subjects")
        if len(self.above) == n:
            return f"In {name} it leads {self.other} for {subjects}."
        if len(self.level) == n:
            where = "the interval" if n == 1 else "every interval"
            return f"In {name} no lead over {self.other} is shown: {where} includes zero."
        if len(self.open) == n:
            return f"In {name} it stands beside {self.other}, and no interval can be given."
        if len(self.below) == n:
            return f"In {name} it is worse than {self.other} for {subjects}."
        parts = []
        if self.above:
            parts.append(f"it leads {self.other} for {_labels(self.above)}")
        if self.below:
            parts.append(f"it is worse than {self.other} for {_labels(self.below)}")
        if self.level:
            where = "interval includes" if len(self.level) == 1 else "intervals include"
            parts.append(f"for {_labels(self.level)} no lead is shown (the {where} zero)")
        if self.open:
            parts.append(f"for {_labels(self.open)} no interval can be given")
        return f"In {name} {'; '.join(parts)}."


def verdict(lead: pd.DataFrame, metric: str, other: str = RIDGE) -> Verdict | None:
    """The model's lead over another system; None if no subject has a value."""
    own = lead[(lead["system"] == MODEL) & (lead["other"] == other) & (lead["metric"] == metric)]
    if own.empty:
        return None
    sides: dict[str, list[str]] = {"above": [], "level": [], "below": [], "open": []}
    leads = []
    for row in own.to_dict("records"):
        side = "above" if row["low"] > 0 else "below" if row["high"] < 0 else "level"
        side = side if np.isfinite([row["low"], row["high"]]).all() else "open"
        sides[side].append(row["subject"])
        ends = ", ".join(said(metric, row[end], signed=True) for end in ("low", "high"))
        leads.append(f"sub-{row['subject']} {said(metric, row['difference'], True)} [{ends}]")
    return Verdict(metric, other, *(tuple(own) for own in sides.values()), tuple(leads))


@dataclass(frozen=True)
class Findings:
    """The summary at the top of the page.

    Attributes:
        simulated: whether the data are simulated.
        references: `human` or `generated`.
        subjects: labels.
        clips: number of test clips per subject, "120" or "110 to 120".
        films: number of films.
        floor: the floor with the highest mean CIDEr (similarity, if no floor has CIDEr).
        result: the sentence that compares the systems.
        verdicts: comparisons with ridge, one per metric.
        caution: a caution if the model leads in text metrics only, or empty.
    """

    simulated: bool
    references: str
    subjects: tuple[str, ...]
    clips: str
    films: int
    floor: str | None
    result: str
    verdicts: tuple[Verdict, ...]
    caution: str


def findings(table: pd.DataFrame, lead: pd.DataFrame, films: int) -> Findings:
    """Derive the main result.

    Args:
        table: table 1 with numeric values.
        lead: table1_lead.csv.
        films: number of decoded films.

    Raises:
        UserError: the table contains no model.
    """
    mean = table[table["subject"] == MEAN].set_index("system")
    if MODEL not in mean.index:
        raise UserError(
            "table1.csv", "holds no system `model`", "run: snakemake results/table1.csv"
        )
    metric = next((m for m in COMPARED if np.isfinite(mean.loc[MODEL, m])), COMPARED[0])
    floors = mean[mean["kind"] == "floor"][metric].dropna()
    floor = str(floors.idxmax()) if len(floors) else None
    shown = [s for s in (MODEL, floor, RIDGE, VIDEO) if s in mean.index]
    means = {s: {m: float(mean.loc[s, m]) for m in COMPARED} for s in shown}
    own = table[(table["subject"] != MEAN) & (table["system"] == MODEL)]
    found = [verdict(lead, m) for m in COMPARED]
    verdicts = tuple(v for v in found if v is not None)
    least, most = own["n_clips"].min(), own["n_clips"].max()
    return Findings(
        simulated=table["data"].iloc[0] == "simulated",
        references=str(table["references"].iloc[0]),
        subjects=tuple(own["subject"]),
        clips=f"{least:.0f}" if least == most else f"{least:.0f} to {most:.0f}",
        films=films,
        floor=floor,
        result=_result(metric, means, floor, lead),
        verdicts=verdicts,
        caution=_caution(verdicts),
    )


def _result(
    metric: str, means: dict[str, dict[str, float]], floor: str | None, lead: pd.DataFrame
) -> str:
    """The model with its baselines, floors and ceilings."""
    model = means[MODEL][metric]
    parts = []
    named = ((floor, f"the strongest floor, {floor}"), (RIDGE, "ridge"))
    for system, name in (*named, (VIDEO, "the same LLM watching the film itself")):
        if system not in means or not np.isfinite(value := means[system][metric]):
            continue
        side = "above" if model > value else "below" if model < value else "level with"
        parts.append(f"{side} {name} ({said(metric, value)})")
    sentence = f"In {METRICS[metric]} the model scores {said(metric, model)} on average"
    sentence += ", " if parts else ""
    sentence += " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:]))) + "."
    against = verdict(lead, metric, floor) if floor else None
    if against and against.level:
        sentence += f" Against that floor no lead is shown for {_labels(against.level)}."
    if against and against.below:
        sentence += f" It is worse than that floor for {_labels(against.below)}."
    return sentence


def _caution(verdicts: tuple[Verdict, ...]) -> str:
    """Caution for a lead in text metrics without a lead in retrieval."""
    by = {v.metric: v for v in verdicts}
    words = [by[m] for m in ("cider", "similarity") if m in by and by[m].above]
    if not words or "top1" not in by or by["top1"].above:
        return ""
    return (
        "It is not shown for any subject that the model identifies the correct clip more often "
        "than ridge. Its lead is in the wording; it is not shown to read more from the brain."
    )


def _labels(subjects: tuple[str, ...]) -> str:
    named = [f"sub-{s}" for s in subjects]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
