"""The calibration curve: decoding of a new subject against minutes of training scans."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4brain.arms import FULL
from llm4brain.evaluate.figure import COLOURS, PANELS
from llm4brain.evaluate.table import MEAN

# Calibration method -> name and colour of its line.
WAYS = {
    "functional": ("minutes with captions, others by anatomy and by responses", "#7d3c98"),
    "coupled": ("minutes with captions, others by anatomy", COLOURS["model"]),
    "unlabelled": ("minutes without captions, others by responses", COLOURS["control"]),
    "gated": ("minutes with captions, others' gate", "#ca6f1e"),
    "alone": ("minutes with captions, alone", COLOURS["baseline"]),
}
WIDE = 0.8  # width in octaves of the intervals at one number of minutes


def draw_calibration(table: pd.DataFrame) -> Figure:
    """CIDEr, similarity and top-1 against minutes of the target, a line per method in `WAYS`.

    Only the line by anatomy has a point at zero minutes: the part shared by all subjects.

    Args:
        table: rows of table 2 with the parts `full` and `cohort`; numbers as numbers.
    """
    strangers = table[table["training"].str.startswith("without")]
    strangers = strangers.assign(how=strangers["how"].fillna("coupled"))
    subjects = [s for s in dict.fromkeys(strangers["subject"]) if s != MEAN]
    minutes = sorted(set(strangers["minutes"]))
    # zero minutes are drawn one octave before the first; a linear axis allows this
    first = np.log2(next((m for m in minutes if m), 1.0))
    place = {m: np.log2(m) if m else first - 1.0 for m in minutes}
    step = WIDE / (len(WAYS) * (len(subjects) + 1))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12.5, 5.2), layout="constrained")
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        _levels(ax, table[table["subject"].isin(subjects)], metric)
        for i, (how, (label, colour)) in enumerate(WAYS.items()):
            way = strangers[strangers["how"] == how].sort_values("minutes")
            middle = (i - (len(WAYS) - 1) / 2) * (len(subjects) + 1) * step
            mean = way[way["subject"] == MEAN]
            x = mean["minutes"].map(place) + middle
            ax.plot(x, mean[metric], "o-", ms=4.5, lw=2.4, c=colour, label=label, zorder=4)
            for j, subject in enumerate(subjects):
                own = way[way["subject"] == subject]
                x = own["minutes"].map(place) + middle + (j - (len(subjects) - 1) / 2) * step
                ends = own[[f"{metric}_low", f"{metric}_high"]].to_numpy(float).T
                ax.vlines(x, *ends, color=colour, lw=0.9, alpha=0.55)
                ax.plot(x, own[metric], ".", ms=3, c=colour, alpha=0.7)
        ax.set_xticks(list(place.values()), [f"{m:g}" for m in minutes])
        ax.set_title(title, fontsize=10)
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].set_xlabel(
        "minutes of the subject's training scans, the first ones (lines: mean over subjects; thin "
        "bars: subjects, with 95% intervals)",
        fontsize=8.5,
    )
    handles, labels = axes[0].get_legend_handles_labels()
    for place, (begin, end) in {"left": (-len(WAYS), None), "right": (0, -len(WAYS))}.items():
        given = {"loc": f"outside lower {place}", "frameon": False, "fontsize": 8.5}
        figure.legend(handles[begin:end], labels[begin:end], ncols=2, **given)
    what = "simulated phantom" if table["data"].iloc[0] == "simulated" else "measured data"
    who = ", ".join(f"sub-{s}" for s in subjects)
    figure.suptitle(f"Reading subjects whom training has not seen: {what}, {who}", fontsize=11)
    return figure


def _levels(ax: Axes, table: pd.DataFrame, metric: str) -> None:
    """Mean over subjects of levels independent of minutes: full data, ridge, floor, ceiling."""
    full, own = table["part"] == FULL, table["training"] == "own"
    every = table["minutes"].max()
    strangers = table["training"].str.startswith("without")
    for label, rows, column, colour, dash in (
        ("ceiling: the video through the LLM", full, f"{metric}_ceiling", COLOURS["ceiling"], "--"),
        (f"everybody, all {every:g} min (full)", full, metric, "0.1", "--"),
        (f"the subject alone, all {every:g} min", own, metric, "0.1", (0, (1, 1))),
        (f"ridge, all {every:g} min", full, f"{metric}_ridge", COLOURS["baseline"], "-."),
        ("highest floor", strangers, f"{metric}_floor", COLOURS["floor"], ":"),
    ):
        level = table.loc[rows, column].astype(float).mean()
        if np.isfinite(level):
            ax.axhline(level, c=colour, ls=dash, lw=1.2, label=label, zorder=1)
