"""Table 2: ablations, cohorts and extended ridges, each with floor, ridge and ceiling.

A cell is one arm, trained on one cohort, decoding one subject. Its lead is its clip-by-clip
difference from the full arm trained on all subjects; for a ridge, from the plain ridge. For a new
subject with some minutes of data, a second lead is over a model of the same minutes alone.
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
from llm4brain.evaluate.paired import holm, lead
from llm4brain.evaluate.table import MEAN
from llm4brain.sections import EvaluateSettings

SYSTEM = "model"
RIDGE = "ridge_plain"
# Systems of `reference` -> what they add to plain ridge.
RIDGES = {
    RIDGE: "",
    "ridge_gate": "the gate",
    "ridge_surprise": "the surprise",
    "ridge": "gate, surprise or both, by validation",
    "ridge_llm": "the same, and the LLM before any tuning on fMRI",
}
PARTS = ("full", "ablation", "ridge", "cohort")
ABOUT = ("part", "arm", "differs", "training", "cohort", "how", "minutes", "others", "subject")
ABOUT += ("n_clips", "over")
BESIDE = ("floor", "ridge", "ceiling")
LEADS = ("lead", "alone_lead")
OF_LEAD = ("", "_low", "_high", "_p", "_holm")
CHOSEN = ("alpha", "power", "coupling")  # chosen on validation
OF_METRIC = ("", "_low", "_high", "_p", *(f"_{name}" for name in BESIDE))
OF_METRIC += tuple(f"_{name}{end}" for name in LEADS for end in OF_LEAD)
COLUMNS = (*ABOUT, *(f"{m}{end}" for m in COMPARED for end in OF_METRIC))
COLUMNS += (*CHOSEN, "references", "data")
CEILING = "video"


@dataclass(frozen=True)
class Cell:
    """One result and how it was obtained.

    Attributes:
        arm, cohort, subject: of its path; for `RIDGES` the arm is the system.
        trained: the subjects of the cohort.
        scanned: total minutes of the subject's training scans.
        metrics: content of its metrics.json.
        predictions: predictions of its system.
        chosen: values of `CHOSEN` for this subject; missing ones were not chosen.
    """

    arm: str
    cohort: str
    subject: str
    trained: Cohort
    scanned: float
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    chosen: Mapping[str, float]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.arm, self.cohort, self.subject

    @property
    def system(self) -> str:
        return self.arm if self.arm in RIDGES else SYSTEM

    @property
    def how(self) -> str:
        """Calibration method for a subject with minutes of data; empty for others."""
        known = self.trained.minutes and self.subject == self.trained.target
        return self.trained.how if known else ""

    @property
    def over(self) -> tuple[str, str, str]:
        """The cell with which it is compared."""
        if self.arm in RIDGES:
            return RIDGE, self.cohort, self.subject
        return FULL, "all", self.subject

    @property
    def alone(self) -> tuple[str, str, str]:
        """The cell of the same minutes alone; the cell itself if there are no minutes."""
        minutes = self.cohort.removesuffix(f"-{self.how}")
        return self.arm, f"{minutes}-alone" if self.how else self.cohort, self.subject

    @property
    def minutes(self) -> float:
        """Minutes of the subject's training scans in the model; `unlabelled`: without captions."""
        if self.subject in self.trained.members:
            return self.scanned
        return self.trained.minutes if self.subject == self.trained.target else 0.0

    @property
    def others(self) -> int:
        """Number of other subjects in training."""
        return len(set(self.trained.members) - {self.subject})

    @property
    def training(self) -> str:
        """The cohort relative to the subject: `own`, `all`, `without`, `without-4min-alone`."""
        if self.trained.target == self.subject:
            return f"without{self.cohort.removeprefix(f'without-{self.subject}')}"
        if self.cohort == "all":
            return "all"
        return "own" if self.trained.members == (self.subject,) else self.cohort

    @property
    def part(self) -> str:
        if self.arm in RIDGES:
            return "ridge"
        if self.arm != FULL:
            return "ablation"
        return FULL if self.cohort == "all" else "cohort"


def differs(over: Mapping[str, Any], name: str = "") -> str:
    """The settings of an arm in words.

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
    """One row per cell, and the mean over subjects of each arm and kind of cohort.

    Args:
        cells: in the order of the table; must include those of the full arm on all subjects.
        references: subject -> metrics.json of the arm `reference`.
        arms: arm -> its settings that differ.
        settings: block length, numbers of resamples and sign flips.
        seed: of both.

    Returns:
        `COLUMNS`: `<metric>_floor` is the highest of all floors, those of the cell and those
        without BOLD input; `_ridge` and `_ceiling` (the video through the LLM) are those of the
        subject. `_lead` is the cell minus `over`, clip by clip: `full` (on all subjects), or
        `ridge_plain` for a ridge. `_alone_lead` is the cell minus the same minutes alone. Both have
        the ends of their 95% interval, the p of `sign_flip_p`, and that p corrected by Holm. The
        family of the Holm correction consists of all leads of the metric in this table, over all
        cells and subjects.

    Raises:
        UserError: references or data differ between cells, or the full arm is missing.
    """
    for name in ("references_sha256", "data"):
        found = {cell.metrics[name] for cell in cells} | {m[name] for m in references.values()}
        if len(found) > 1:
            wrong = f"{name} differ between cells"
            raise UserError("--metrics", wrong, "score all against the same captions")
    full = {cell.subject: cell for cell in cells if cell.part == FULL}
    found = {cell.key: cell for cell in cells}
    rows = []
    for cell in cells:
        if cell.subject not in full:
            where = "/".join(cell.key)
            raise UserError(where, "has no full model beside it", "add results/full/all")
        own, other = cell.metrics["systems"], references[cell.subject]["systems"]
        floors = [s for s in (*own.values(), *other.values()) if s["kind"] == "floor"]
        row: dict[str, Any] = {
            "part": cell.part, "arm": cell.arm, "training": cell.training, "cohort": cell.cohort,
            "differs": RIDGES[cell.arm] if cell.arm in RIDGES else differs(arms[cell.arm]),
            "how": cell.how or None, "minutes": cell.minutes, "others": cell.others,
            "subject": cell.subject, "n_clips": own[cell.system]["n_clips"],
            "over": None if cell.over == cell.key else cell.over[0], **cell.chosen,
            "references": cell.metrics["references"], "data": cell.metrics["data"],
        }  # fmt: skip
        if cell.how in ("unlabelled", "gated", "alone"):
            row["coupling"] = None  # between people, which is not used there
        for name, key in zip(LEADS, (cell.over, cell.alone), strict=True):
            row |= _lead(cell, found.get(key, cell), name, settings, seed)
        for metric in COMPARED:
            row |= {f"{metric}{end}": own[cell.system][f"{metric}{end}"] for end in OF_METRIC[:4]}
            known = [s[metric] for s in floors if s[metric] is not None]
            row[f"{metric}_floor"] = max(known)
            row[f"{metric}_ridge"] = other["ridge"][metric]
            row[f"{metric}_ceiling"] = other[CEILING][metric]
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for metric in COMPARED:
        p = [f"{metric}_{name}_p" for name in LEADS]
        family = table[p].to_numpy(float)
        table[[f"{c[:-1]}holm" for c in p]] = holm(family.ravel()).reshape(family.shape)
    table = pd.concat([table, _means(table)], ignore_index=True)
    order = table["part"].map(PARTS.index)
    group = table[["arm", "training"]].agg(tuple, axis=1)
    place = group.map({each: i for i, each in enumerate(dict.fromkeys(group))})
    table = table.assign(_order=order, _place=place).sort_values(
        ["_order", "_place"], kind="stable"
    )
    digits = {c: 4 if c.startswith("similarity") else 2 for c in table if c.startswith(COMPARED)}
    digits |= {c: 6 for c in table if c.endswith(("_p", "_holm"))}
    return table[list(COLUMNS)].round(digits).reset_index(drop=True)


def _lead(
    cell: Cell, other: Cell, name: str, settings: EvaluateSettings, seed: int
) -> dict[str, float]:
    """`<metric>_<name>`, the ends of its interval and its p; empty for a cell over itself."""
    if cell is other:
        return {}
    pair = {"cell": cell.predictions, "other": other.predictions}
    given = (settings.block_seconds, settings.n_bootstrap, seed, "cell", settings.n_permutations)
    ends = {"difference": "", "low": "_low", "high": "_high", "p": "_p"}
    return {
        f"{row['metric']}_{name}{end}": row[column]
        for row in lead(pair, cell.subject, *given).to_dict("records")
        for column, end in ends.items()
    }


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over subjects of each arm and kind of cohort; no interval, no p."""
    rows = []
    meant = [f"{m}{end}" for m in COMPARED for end in ("", *(f"_{n}" for n in (*BESIDE, *LEADS)))]
    numbers = [f"{m}{end}" for m in COMPARED for end in OF_METRIC]
    for _, own in table.groupby(["arm", "training"], sort=False):
        row = own.iloc[0].to_dict() | dict.fromkeys(numbers, np.nan)
        row |= {c: own[c].astype(float).mean(skipna=False) for c in meant}
        same = own["cohort"].nunique() == 1
        row |= {"subject": MEAN, "n_clips": own["n_clips"].sum(), "minutes": own["minutes"].mean()}
        row |= {"cohort": own["cohort"].iloc[0] if same else own["training"].iloc[0]}
        row |= {c: own[c].mean() if own[c].nunique() == 1 else np.nan for c in CHOSEN}
        rows.append(row)
    return pd.DataFrame(rows)
