"""Table 2: ablations and cohorts, each cell beside its floor, ridge, ceiling and the full model.

A cell is one arm, trained on one cohort, reading one subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.arms import FULL, Cohort
from llm4brain.errors import UserError
from llm4brain.evaluate.names import COMPARED
from llm4brain.evaluate.paired import lead
from llm4brain.evaluate.table import MEAN
from llm4brain.sections import EvaluateSettings

SYSTEM = "model"
ABOUT = ("part", "arm", "differs", "training", "cohort", "minutes", "others", "subject", "n_clips")
BESIDE = ("floor", "ridge", "ceiling", "lead", "lead_low", "lead_high")
OF_METRIC = ("", "_low", "_high", "_p", *(f"_{name}" for name in BESIDE))
COLUMNS = (*ABOUT, *(f"{m}{end}" for m in COMPARED for end in OF_METRIC))
COLUMNS += ("gain", "coupling", "references", "data")
CEILING = "video"


@dataclass(frozen=True)
class Cell:
    """One result and how it was come by.

    Attributes:
        arm, cohort, subject: its target path.
        trained: whom the cohort holds.
        scanned: minutes of the subject's training scans, all of them.
        metrics: of its metrics.json.
        predictions: of its system `model`.
        gain, coupling: as its model has them.
    """

    arm: str
    cohort: str
    subject: str
    trained: Cohort
    scanned: float
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    gain: float
    coupling: float

    @property
    def key(self) -> str:
        return f"results/{self.arm}/{self.cohort}/sub-{self.subject}"

    @property
    def minutes(self) -> float:
        """Of the subject's labelled training scans that the model has seen."""
        if self.subject in self.trained.members:
            return self.scanned
        return self.trained.minutes if self.subject == self.trained.target else 0.0

    @property
    def others(self) -> int:
        """How many other subjects it was trained on."""
        return len(set(self.trained.members) - {self.subject})

    @property
    def training(self) -> str:
        """The cohort as seen by the subject: `own`, `all`, `without`, `without-4min`."""
        if self.trained.target:
            minutes = f"-{self.trained.minutes:g}min" if self.trained.minutes else ""
            return f"without{minutes}" if self.subject == self.trained.target else self.cohort
        if self.cohort == "all":
            return "all"
        return "own" if self.trained.members == (self.subject,) else self.cohort

    @property
    def part(self) -> str:
        if self.arm != FULL:
            return "ablation"
        return FULL if self.cohort == "all" else "cohort"


def differs(over: Mapping[str, Any], name: str = "") -> str:
    """An arm's own settings in words.

    >>> differs({"tune": {"fit": {"epochs": 0}}})
    'tune.fit.epochs 0'
    """
    words = []
    for key, value in over.items():
        path = f"{name}.{key}" if name else key
        is_section = isinstance(value, Mapping)
        words.append(differs(value, path) if is_section else f"{path} {json.dumps(value)}")
    return "; ".join(words).replace('"', "")


def table2(
    cells: Sequence[Cell],
    references: Mapping[str, Mapping[str, Any]],
    arms: Mapping[str, Mapping[str, Any]],
    settings: EvaluateSettings,
    seed: int,
) -> pd.DataFrame:
    """A row a cell, and the mean over subjects of each arm and kind of cohort.

    Args:
        cells: in the order of the table; those of the full arm on all subjects among them.
        references: subject -> metrics.json of the systems that need no training.
        arms: arm -> what differs from the settings.
        settings: length of the bootstrap's blocks and number of resamples.
        seed: of the resamples.

    Returns:
        `COLUMNS`: `<metric>_floor` is the highest of all floors, the cell's own and those without
        a brain; `_ridge` and `_ceiling` (the video through the LLM) the subject's; `_lead` the
        cell minus the full arm on all subjects, clip by clip.

    Raises:
        UserError: references or data differ between cells, or the full arm is not among them.
    """
    for name in ("references_sha256", "data"):
        found = {cell.metrics[name] for cell in cells} | {m[name] for m in references.values()}
        if len(found) > 1:
            wrong = f"{name} differ between cells"
            raise UserError("--metrics", wrong, "score all against the same captions")
    full = {cell.subject: cell for cell in cells if cell.part == FULL}
    rows = []
    for cell in cells:
        if cell.subject not in full:
            raise UserError(cell.key, "has no full model beside it", "add results/full/all")
        own, other = cell.metrics["systems"], references[cell.subject]["systems"]
        floors = [s for s in (*own.values(), *other.values()) if s["kind"] == "floor"]
        row: dict[str, Any] = {
            "part": cell.part, "arm": cell.arm, "differs": differs(arms[cell.arm]),
            "training": cell.training, "cohort": cell.cohort, "minutes": cell.minutes,
            "others": cell.others, "subject": cell.subject, "n_clips": own[SYSTEM]["n_clips"],
            "gain": cell.gain, "coupling": cell.coupling,
            "references": cell.metrics["references"], "data": cell.metrics["data"],
        }  # fmt: skip
        leads = _lead(cell, full[cell.subject], settings, seed)
        for metric in COMPARED:
            row |= {f"{metric}{end}": own[SYSTEM][f"{metric}{end}"] for end in OF_METRIC[:4]}
            known = [s[metric] for s in floors if s[metric] is not None]
            row[f"{metric}_floor"] = max(known)
            row[f"{metric}_ridge"] = other["ridge"][metric]
            row[f"{metric}_ceiling"] = other[CEILING][metric]
            row |= {f"{metric}_{name}": value for name, value in leads.get(metric, {}).items()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = pd.concat([table, _means(table)], ignore_index=True)
    order = table["part"].map(["full", "ablation", "cohort"].index)
    group = table[["arm", "training"]].agg(tuple, axis=1)
    place = group.map({each: i for i, each in enumerate(dict.fromkeys(group))})
    table = table.assign(_order=order, _place=place).sort_values(
        ["_order", "_place"], kind="stable"
    )
    digits = {c: 4 if c.startswith("similarity") else 2 for c in table if c.startswith(COMPARED)}
    digits |= {c: 6 for c in table if c.endswith("_p")}
    return table[list(COLUMNS)].round(digits).reset_index(drop=True)


def _lead(
    cell: Cell, full: Cell, settings: EvaluateSettings, seed: int
) -> dict[str, dict[str, float]]:
    """Metric -> lead, lead_low, lead_high of a cell over the full model; none over itself."""
    if cell is full:
        return {}
    pair = {"cell": cell.predictions, FULL: full.predictions}
    found = lead(pair, cell.subject, settings.block, settings.samples, seed, "cell")
    return {
        row["metric"]: {
            "lead": row["difference"], "lead_low": row["low"], "lead_high": row["high"]
        }
        for row in found.to_dict("records")
    }  # fmt: skip


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over subjects of each arm and kind of cohort; no interval, no p."""
    rows = []
    values = [f"{m}{end}" for m in COMPARED for end in ("", *(f"_{n}" for n in BESIDE[:4]))]
    for _, own in table.groupby(["arm", "training"], sort=False):
        row = own.iloc[0].to_dict() | dict.fromkeys(
            [c for m in COMPARED for c in (f"{m}_low", f"{m}_high", f"{m}_p")], np.nan
        )
        row |= {c: np.nan for c in COLUMNS if c.endswith(("_lead_low", "_lead_high"))}
        row |= {c: own[c].astype(float).mean(skipna=False) for c in values}
        same = own["cohort"].nunique() == 1
        row |= {"subject": MEAN, "n_clips": own["n_clips"].sum(), "minutes": own["minutes"].mean()}
        row |= {"cohort": own["cohort"].iloc[0] if same else own["training"].iloc[0]}
        row |= {c: own[c].mean() if own[c].nunique() == 1 else np.nan for c in ("gain", "coupling")}
        rows.append(row)
    return pd.DataFrame(rows)
