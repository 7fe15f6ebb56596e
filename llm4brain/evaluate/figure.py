"""Plot of table 1: each system relative to the floors and the ceiling."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from llm4brain.evaluate.table import MEAN
from llm4brain.io import atomic_write

PANELS = {
    "cider": "CIDEr (x 100)",
    "similarity": "sentence similarity",
    "top1": "retrieval top-1 (%)",
}
WRITTEN = {"human": "written", "generated": "generated", "file": "by file"}
# In the table but not in the figure, to keep it readable: the individual parts of ridge.
LEFT_OUT = ("ridge_gate", "ridge_surprise")
COLOURS = {
    "model": "#c0392b",
    "baseline": "#2471a3",
    "floor": "#909497",
    "control": "#b9770e",
    "ceiling": "#1e8449",
}


def draw(table: pd.DataFrame) -> Figure:
    """A point with 95% interval per subject and a bar at the mean; floors are shaded. `LEFT_OUT` is
    not shown.

    Args:
        table: table 1 with numeric values; `subject` is text.
    """
    table = table[~table["system"].isin(LEFT_OUT)]
    systems = table.drop_duplicates("system")[["system", "kind"]].to_numpy().tolist()
    figure, axes = plt.subplots(
        1, len(PANELS), figsize=(11, 0.42 * len(systems) + 1.5), sharey=True, layout="constrained"
    )
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for place, (system, kind) in enumerate(systems):
            if kind == "floor":
                ax.axhspan(place - 0.5, place + 0.5, color="0.93", zorder=0)
            own = table[table["system"] == system]
            subjects = own[own["subject"] != MEAN]
            step = 0.6 / max(len(subjects), 1)
            for i, row in enumerate(subjects.to_dict("records")):
                y = place + (i - (len(subjects) - 1) / 2) * step
                ax.plot(
                    [row[f"{metric}_low"], row[f"{metric}_high"]], [y, y], c=COLOURS[kind], lw=1
                )
                ax.plot(row[metric], y, "o", c=COLOURS[kind], ms=3.5)
            for mean in own.loc[own["subject"] == MEAN, metric]:
                ax.plot(
                    [mean, mean], [place - 0.4, place + 0.4], c=COLOURS[kind], lw=2.5, alpha=0.4
                )
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    named = [system if system == kind else f"{system} ({kind})" for system, kind in systems]
    axes[0].set_yticks(range(len(systems)), named)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    data, references = table["data"].iloc[0], table["references"].iloc[0]
    what = "simulated phantom" if data == "simulated" else f"{data} data"
    figure.suptitle(
        f"Captions decoded from BOLD: {what}, {WRITTEN[references]} references", fontsize=11
    )
    subjects = [s for s in dict.fromkeys(table["subject"]) if s != MEAN]
    figure.supxlabel(
        f"dots: subjects {', '.join(subjects)} from above, with 95% intervals; bars: their mean; "
        "grey: floors (no BOLD, or BOLD made useless)",
        fontsize=8.5,
    )
    return figure


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a PNG without date and version, so that the bytes are reproducible."""
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=dpi, metadata={"Software": None})
    plt.close(figure)
