"""The SNR curve: decoding performance on phantoms of increasing SNR, starting from zero.

At an SNR of zero nothing should be significant; at a high SNR the model should approach its
ceiling. If a decoder does well at zero, information has leaked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from llm4brain.evaluate.figure import COLOURS, PANELS
from llm4brain.evaluate.names import COMPARED

SHOWN = ("model", "ridge")
OF_METRIC = ("", "_low", "_high", "_p")
COLUMNS = ("snr", "subject", "system", "kind", "n_clips")
COLUMNS += tuple(f"{metric}{end}" for metric in COMPARED for end in OF_METRIC)
COLUMNS += ("alpha", "power", "references", "data")
FLOOR = "highest floor"
LEVEL = 0.05 / (len(SHOWN) * len(COMPARED))  # Bonferroni correction over the comparisons at one SNR


def snr_rows(
    snr: float, model: Mapping[str, Any], reference: Mapping[str, Any], chosen: Mapping[str, Any]
) -> pd.DataFrame:
    """The systems at one SNR, and the highest floor of each metric.

    Args:
        snr: of the phantom.
        model, reference: metrics.json of the full arm and of `reference`, for one subject.
        chosen: alpha of the surprise and power of the gate, chosen on validation.

    Returns:
        `COLUMNS`, one row per system.
    """
    systems = {**reference["systems"], **model["systems"]}
    shared = {"snr": snr} | {k: chosen[k] for k in ("alpha", "power")}
    shared |= {k: model[k] for k in ("subject", "references", "data")}
    rows = [
        shared
        | {"system": name, "kind": own["kind"], "n_clips": own["n_clips"]}
        | {f"{m}{end}": own[f"{m}{end}"] for m in COMPARED for end in OF_METRIC}
        for name, own in systems.items()
        if name != "agreement"
    ]
    floors = [row for row in rows if row["kind"] == "floor"]
    highest = shared | {"system": FLOOR, "kind": "floor", "n_clips": floors[0]["n_clips"]}
    for metric in COMPARED:
        best = max((row for row in floors if row[metric] is not None), key=lambda r: r[metric])
        # no p, because the highest floor is selected among many
        highest |= {f"{metric}{end}": best[f"{metric}{end}"] for end in OF_METRIC[:3]}
    return pd.DataFrame([*rows, highest], columns=list(COLUMNS))


def draw_snr(table: pd.DataFrame) -> Figure:
    """Each metric against SNR: model and ridge with intervals, floor and ceiling.

    Args:
        table: rows of `snr_rows` for several SNRs.
    """
    levels = sorted(set(table["snr"]))
    above = [level for level in levels if level > 0]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.9), layout="constrained")
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for system in SHOWN:
            own = table[table["system"] == system].sort_values("snr")
            colour = COLOURS[own["kind"].iloc[0]]
            ends = own[[f"{metric}_low", f"{metric}_high"]].to_numpy(float).T
            ax.fill_between(own["snr"], *ends, color=colour, alpha=0.15, lw=0)
            ax.plot(own["snr"], own[metric], c=colour, lw=1.6, label=system)
            p = own[f"{metric}_p"].astype(float)
            for rows, face in ((own[p < LEVEL], colour), (own[p >= LEVEL], "white")):
                ax.plot(rows["snr"], rows[metric], "o", ms=5, c=colour, mfc=face)
        floor = table[table["system"] == FLOOR].sort_values("snr")
        ax.fill_between(floor["snr"], 0, floor[metric], color="0.9", lw=0, label=FLOOR)
        ceiling = table.loc[table["system"] == "video", metric].astype(float)
        if ceiling.notna().all():
            ax.axhline(ceiling.mean(), c=COLOURS["ceiling"], ls="--", lw=1.2, label="video")
        if above:
            ax.set_xscale("symlog", linthresh=min(above), linscale=0.5)
            ax.set_xlim(-min(above) / 4, max(above) * 1.2)  # do not clip circles at the ends
        ax.set_xticks(levels, [f"{level:g}" for level in levels], fontsize=8)
        ax.minorticks_off()
        ax.set_title(title, fontsize=10)
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(0, 0.6))
    subjects = ", ".join(dict.fromkeys(table["subject"]))
    title = f"What is decoded at which SNR: simulated phantom, trained on sub-{subjects} alone"
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(
        "var(signal) / var(noise) of a single showing in tuned voxels; open circles: p of 0.05 or "
        f"more against shuffled predictions, over the {len(SHOWN) * len(COMPARED)} of a level",
        fontsize=8.5,
    )
    return figure
