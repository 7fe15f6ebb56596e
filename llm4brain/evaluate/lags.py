"""The lag sweep: the same model applied to windows earlier and later than those of training.

A decoder that uses brain responses is best at the haemodynamic lag and at chance far from it. A
decoder that is good at every lag, or before the film could have had an effect, uses other
information.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from llm4brain.clips import Run, cut_windows
from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks, interval, resample
from llm4brain.evaluate.retrieval import correlations, credit
from llm4brain.sections import ClipSettings
from llm4brain.showings import average_repeats, first_showings

LAGS = tuple(range(-20, 21, 2))  # s
COLUMNS = ("lag", "n_clips", "top1", "top1_low", "top1_high", "chance", "match", "match_low")
COLUMNS += ("match_high",)


def lag_sweep(
    runs: Sequence[Run],
    clips: pd.DataFrame,
    settings: ClipSettings,
    read: Callable[[np.ndarray], np.ndarray],
    truth: Mapping[str, np.ndarray],
    norms: Mapping[str, float],
    repeats: Literal["average", "single"],
    seconds: float,
    samples: int,
    seed: int,
    lags: Sequence[float] = LAGS,
) -> pd.DataFrame:
    """Retrieval of the test clips from windows at each lag.

    Args:
        runs: a subject's.
        clips: the clip table.
        settings: window and lag (s) used in training.
        read: windows (n, T, voxels) -> coordinates of their readings (n, r), see `correlations`.
        truth: clip_id -> coordinates of its video tokens (r,).
        norms: clip_id -> their norm.
        repeats: average over showings, or the first one.
        seconds: length of bootstrap blocks.
        samples: number of resamples.
        seed: of the resamples.
        lags: s from clip onset to the window.

    Returns:
        One row per lag, `COLUMNS`: `top1` and its `chance` (percent), `match`: mean correlation of
        a reading with its own clip; intervals by blocks. Only clips with a window at every lag are
        used. A lag without any window inside a run has no row. If fewer than two clips are left,
        for example in a short film with motion, lags farthest from the trained lag are dropped.

    Raises:
        UserError: the runs are invalid, or fewer than two clips are left at any lag.
    """
    test = clips[clips["split"] == "test"]
    cut_windows(runs, test, settings)  # errors in the runs are raised here
    found = {}
    for lag in lags:
        try:
            cut = cut_windows(runs, test, settings, lag=lag)
        except UserError:  # no clip of any run has a window at this lag
            continue
        windows, trials = cut.windows, cut.trials
        if repeats == "single":
            windows, trials = first_showings(windows, trials)
        windows, table = average_repeats(windows, trials)
        found[lag] = dict(zip(table["clip_id"], read(windows), strict=True))
    # same clips at every lag, so that the curve does not depend on the selection of clips
    while len(names := [c for c in test["clip_id"] if all(c in f for f in found.values())]) < 2:
        if len(found) < 2:
            wrong = "has no two test clips with a valid window"
            raise UserError("clip table", wrong, "show more, or longer films")
        del found[max(found, key=lambda lag: abs(lag - settings.lag))]
    block = blocks(names, seconds)
    weights = resample(block, samples, seed)
    tokens, lengths = (np.stack([of[name] for name in names]) for of in (truth, norms))
    rows = []
    for lag, own in found.items():
        scores = correlations(np.stack([own[name] for name in names]), tokens, lengths)
        row = [lag, len(names)]
        for each, at in ((100 * np.diag(credit(scores, 1)), 2), (np.diag(scores), None)):
            values = weights @ each / weights.sum(axis=1)
            row += [each.mean(), *interval(values, int(block.max()) + 1)]
            row += [100 / len(names)] if at else []
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw_lags(table: pd.DataFrame, lag: float, title: str) -> Figure:
    """Retrieval against lag, with intervals, chance, and the lag used in training."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.fill_between(table["lag"], table["top1_low"], table["top1_high"], alpha=0.2, lw=0)
    axes.plot(table["lag"], table["top1"], marker="o", ms=4, label="model, with 95% interval")
    axes.plot(table["lag"], table["chance"], c="0.5", ls=":", label="chance")
    axes.axvline(lag, c="0.7", ls="--", lw=1, label=f"trained at {lag:g} s")
    axes.set(xlabel="lag of the window behind the clip (s)", ylabel="retrieval top-1 (%)")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
