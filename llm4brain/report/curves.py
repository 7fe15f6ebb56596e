"""Curves of a run: training losses, and retrieval from windows at other lags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from llm4brain.report import glossary
from llm4brain.report.cells import compact, numeric
from llm4brain.report.draw import Series, curve
from llm4brain.report.tables import Plain, plain

LOSSES = {"loss": "training loss", "val_loss": "validation loss"}


@dataclass(frozen=True)
class Panel:
    """A heading, a group of drawings, one sentence about them, and their numbers."""

    title: str
    drawings: list[Markup]
    note: str
    table: Plain


def training(logs: Mapping[str, pd.DataFrame]) -> list[Panel]:
    """The training logs by stage, in the order of the stages.

    Each loss has its own axis. Training and validation loss sum different terms or average over
    different items, and on a common axis one of them would look flat.

    Args:
        logs: name of a stage -> its log as text; a log with a column `stage` holds several stages.
    """
    panels = []
    for name in sorted(logs, key=lambda n: list(glossary.STAGES).index(n)):
        log, title = logs[name], glossary.STAGES[name]
        parts = log.groupby("stage", sort=False) if "stage" in log else [("", log)]
        for part, cells in parts:
            own = numeric(cells)
            kept = own.loc[own["best"] == "True", "epoch"]
            marks = [(float(kept.iloc[0]), "kept epoch")] if len(kept) else []
            drawings = [
                curve([_line(own, "epoch", loss)], "epoch", name, marks, size=(270, 180))
                for loss, name in LOSSES.items()
                if loss in own and np.isfinite(own[loss]).any()
            ]
            head = f"{title}: {part}" if part else title
            panels.append(
                Panel(
                    head, drawings, _kept(own, marks), plain(cells[own.columns[own.notna().any()]])
                )
            )
    return panels


def _kept(log: pd.DataFrame, marks: list[tuple[float, str]]) -> str:
    if not marks:
        return ""
    first, kept = log["val_loss"].iloc[0], log.loc[log["epoch"] == marks[0][0], "val_loss"].iloc[0]
    epochs = log["epoch"].max()
    said = f"Kept: epoch {compact(marks[0][0])} of {compact(epochs)}"
    return f"{said}; validation loss {compact(first)} before training, {compact(kept)} after."


def lags(sweeps: Mapping[str, pd.DataFrame], trained: float) -> list[Panel]:
    """Retrieval against lag, one panel per subject, all with the same axis.

    Args:
        sweeps: subject -> its lag.csv as text.
        trained: lag (s) used in training.
    """
    panels = []
    tables = {subject: numeric(cells) for subject, cells in sweeps.items()}
    most = max((sweep["top1_high"].max() for sweep in tables.values()), default=0.0)
    for subject, sweep in tables.items():
        model = Series(
            "top-1",
            *(sweep[c].tolist() for c in ("lag", "top1", "top1_low", "top1_high")),
        )
        lines = [model, _line(sweep, "lag", "chance", look="chance")]
        drawing = curve(
            lines, "lag behind the clip (s)", "top-1 (%)", [(trained, "trained")], [0.0, most]
        )
        best = sweep.loc[sweep["top1"].idxmax()]
        note = (
            f"Best at {compact(best['lag'])} s: {best['top1']:.3g}% of {best['n_clips']:.0f} "
            f"clips found, chance is {best['chance']:.2g}%."
        )
        panels.append(Panel(f"sub-{subject}", [drawing], note, plain(sweeps[subject])))
    return panels


def _line(table: pd.DataFrame, across: str, column: str, look: str = "main") -> Series:
    return Series(column, table[across].tolist(), table[column].tolist(), look=look)
