"""Layout of table 2 on the page: arms and cohorts, with floor and ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from llm4brain.evaluate.names import COMPARED
from llm4brain.evaluate.table import MEAN
from llm4brain.evaluate.table2 import LEADS
from llm4brain.report.cells import numeric
from llm4brain.report.draw import Interval, ends, intervals
from llm4brain.report.tables import Cell, axes_told, column_axes, drawn_lead, interval

LEADS_IN = "cider"
WIDTH = 120  # width of a drawing in px; there are four in a row
BESIDE = {  # suffix of the column -> kind, name, explanation
    "ridge": ("baseline", "ridge", "of the same subjects, each trained separately"),
    "floor": ("floor", "highest floor", "of the full arm: no brain input, or a corrupted one"),
    "ceiling": ("ceiling", "video", "the LLM watching the film itself"),
}
WAYS = {  # calibration method -> its description; empty for alignment by anatomy
    "": "",
    "functional": ", by responses too",
    "unlabelled": " without captions",
}
ALONE = {"alone": "", "gated": " with the others' gate"}
PARTS = {
    "full": "The full arm, trained on every subject",
    "ablation": "Arms: one part changed or left out, trained on every subject",
    "ridge": "Linear baselines: additions to ridge",
    "cohort": "Cohorts: the full arm, trained on other subjects or less data",
}


@dataclass(frozen=True)
class ArmRow:
    """A row: number and drawing of each main metric, and the lead over another row."""

    name: str
    about: str
    kind: str
    cells: Sequence[Cell]
    lead: Cell


@dataclass(frozen=True)
class Arms:
    """Table 2: its groups, and the axis ends of each metric as text."""

    axes: Mapping[str, str]
    groups: Sequence[ArmGroup]


@dataclass(frozen=True)
class ArmGroup:
    """The rows of a part of table 2."""

    title: str
    rows: Sequence[ArmRow]


def arms(cells: pd.DataFrame) -> Arms:
    """Rows with the mean over subjects; the interval of each subject is drawn.

    Args:
        cells: table2.csv as text.
    """
    table = numeric(cells)
    axes = column_axes(table, *(f"_{end}" for end in BESIDE))
    of_lead = table[[f"{LEADS_IN}_{n}{end}" for n in LEADS for end in ("", "_low", "_high")]]
    lead_axis = ends(of_lead.astype(float).to_numpy().ravel())
    found = []
    for part, title in PARTS.items():
        rows = []
        own = table[table["part"] == part]
        for (arm, training), group in own.groupby(["arm", "training"], sort=False):
            mean = group.index[group["subject"] == MEAN][0]
            subjects = group[group["subject"] != MEAN]
            name = training_words(training) if part == "cohort" else arm
            about = arm if part == "cohort" and arm != "full" else cells.loc[mean, "differs"]
            about = "no data of the subject" if training == "without" else about
            drawn = [
                _cell(cells.loc[mean, m], table.loc[mean, m], subjects, m, axes[m])
                for m in COMPARED
            ]
            rows.append(ArmRow(name, about, "model", drawn, _lead(subjects, lead_axis)))
            if part == "full":
                rows += [_beside(end, cells.loc[mean], subjects, axes) for end in BESIDE]
        if rows:
            found.append(ArmGroup(title, rows))
    return Arms(axes_told(axes), found)


def training_words(training: str) -> str:
    """The training subjects, in words.

    >>> training_words("own"), training_words("without"), training_words("without-0.5min")
    ('the subject alone', 'the others', 'the others and 0.5 min')
    >>> training_words("without-4min-unlabelled"), training_words("without-4min-alone")
    ('the others and 4 min without captions', '4 min alone')
    """
    if training == "own":
        return "the subject alone"
    _, minutes, how = (*training.split("-"), "", "")[:3]
    minutes = f"{minutes.removesuffix('min')} min"
    if how in ALONE:
        return f"{minutes} alone{ALONE[how]}"
    return f"the others and {minutes}{WAYS[how]}" if minutes != " min" else "the others"


def _cell(
    text: str, mean: float, subjects: pd.DataFrame, metric: str, axis: tuple[float, float]
) -> Cell:
    found = [interval(row, metric) for row in subjects.to_dict("records")]
    return Cell(text, drawing=intervals(found, axis, mean, width=WIDTH))


def _beside(
    end: str, mean: pd.Series, subjects: pd.DataFrame, axes: dict[str, tuple[float, float]]
) -> ArmRow:
    """Note beside the numbers of the full arm, whose intervals are in table 1."""
    kind, name, about = BESIDE[end]
    cells = []
    for metric in COMPARED:
        column = f"{metric}_{end}"
        found = [Interval(f"sub-{r['subject']}", r[column]) for r in subjects.to_dict("records")]
        cells.append(Cell(mean[column], drawing=intervals(found, axes[metric], width=WIDTH)))
    return ArmRow(name, about, kind, cells, Cell(""))


def _lead(subjects: pd.DataFrame, axis: tuple[float, float]) -> Cell:
    """Lead over the same minutes alone if there are any, else over `full` or plain ridge. If all
    clips have equal scores, the text says so."""
    over = "alone" if subjects["training"].str.contains("min").any() else subjects["over"].iloc[0]
    stem = f"{LEADS_IN}_{'alone_lead' if over == 'alone' else 'lead'}"
    names = {stem: "difference", f"{stem}_low": "low", f"{stem}_high": "high"}
    own = subjects.rename(columns=names)[["subject", *names.values()]]
    own = own.dropna(subset=["difference"])
    if own.empty:
        return Cell("")
    drawn = drawn_lead(own, axis, WIDTH)
    alike = not own[list(names.values())].to_numpy(float).any()
    return replace(drawn, text=f"as {over}") if alike else drawn
