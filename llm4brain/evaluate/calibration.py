"""The calibration curve: how well a decoder reads a stranger after so many minutes with him."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from llm4brain.arms import FULL
from llm4brain.evaluate.figure import PANELS
from llm4brain.evaluate.table import MEAN


def draw_calibration(table: pd.DataFrame) -> Figure:
    """CIDEr, similarity and top-1 against the target's labelled minutes.

    Args:
        table: rows of table 2 with the parts `full` and `cohort`; numbers as numbers.
    """
    calibrated = table[table["training"].str.startswith("without")]
    subjects = [s for s in dict.fromkeys(calibrated["subject"]) if s != MEAN]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.9), layout="constrained")
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for subject in [*subjects, MEAN]:
            own = calibrated[calibrated["subject"] == subject].sort_values("minutes")
            style = {"lw": 2.4, "c": "#c0392b"} if subject == MEAN else {"lw": 0.9, "c": "0.6"}
            label = "others and these minutes" if subject == MEAN else None
            ax.plot(own["minutes"], own[metric], marker="o", ms=3.5, label=label, **style)
            if subject != MEAN:
                ends = own[[f"{metric}_low", f"{metric}_high"]].to_numpy(float).T
                ax.fill_between(own["minutes"], *ends, color="0.6", alpha=0.12, lw=0)
        of_targets = table[table["subject"].isin(subjects)]
        every = of_targets["minutes"].max()
        lines = {
            f"others and all {every:g} min": (of_targets["part"] == FULL, metric, "#c0392b", "--"),
            f"alone, all {every:g} min": (of_targets["training"] == "own", metric, "#7d3c98", "--"),
            f"ridge alone, all {every:g} min": (
                of_targets["part"] == FULL, f"{metric}_ridge", "#2471a3", "-."
            ),
            "highest floor": (
                of_targets["training"].str.startswith("without"), f"{metric}_floor", "0.45", ":"
            ),
        }  # fmt: skip
        for label, (rows, column, colour, dash) in lines.items():
            level = of_targets.loc[rows, column].astype(float).mean()
            if np.isfinite(level):
                ax.axhline(level, c=colour, ls=dash, lw=1.2, label=label)
        ax.set_xscale("symlog", base=2, linthresh=1)
        ticks = sorted(set(calibrated["minutes"]))
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_xlim(min(ticks) - 0.15, max(ticks) * 1.1)
        ax.minorticks_off()
        ax.set_title(title, fontsize=10)
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=7.5, loc="lower right")
    what = "simulated phantom" if table["data"].iloc[0] == "simulated" else "measured data"
    who = ", ".join(f"sub-{s}" for s in subjects)
    figure.suptitle(
        f"Reading subjects whom the model has seen for minutes: {what}, {who}", fontsize=11
    )
    figure.supxlabel(
        "labelled minutes of the subject's scans, of which none, or the first ones, are known "
        "(grey: subjects, with 95% intervals)",
        fontsize=8.5,
    )
    return figure
