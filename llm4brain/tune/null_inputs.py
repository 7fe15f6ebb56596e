"""Null inputs: BOLD that holds no information about the clip, for control decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from llm4brain.brain.cohort import Cohort
from llm4brain.clips import cut_windows, read_runs
from llm4brain.io import Arrays
from llm4brain.sections import ClipSettings
from llm4brain.showings import average_repeats, first_showings


def rolled(
    bold: Arrays,
    clips: pd.DataFrame,
    window: ClipSettings,
    seconds: float,
    names: Sequence[str],
    repeats: Literal["average", "single"] = "average",
) -> np.ndarray:
    """Windows (clips, T, voxels) of a subject's BOLD, shifted circularly in time within each run.

    All runs are shifted by the same time, so an average over repeats has the same signal-to-noise
    ratio as the true windows, but shows another moment of the film. This is the hardest null input,
    since its predictions are those of a real clip.

    Args:
        clips: the clip table; only rows in `names` are cut.
        seconds: minimum shift.
        names: clip_id of the wanted rows, in order.
        repeats: the mean over showings, or the first showing only, as for the model.
    """
    wanted = clips[clips["clip_id"].isin(set(names))]
    cut = cut_windows(read_runs(bold), wanted, window, roll=seconds)
    windows, trials = cut.windows, cut.trials
    if repeats == "single":
        windows, trials = first_showings(windows, trials, least_valid=0.0)
    windows, table = average_repeats(windows, trials, least_valid=0.0)
    place = {name: i for i, name in enumerate(table["clip_id"])}
    return windows[[place[name] for name in names]]


def windows_of(found: Cohort, names: Sequence[str], nothing: np.ndarray) -> np.ndarray:
    """Windows (clips, T, voxels) of another subject for the named clips.

    A clip for which that subject has no valid volume gets `nothing` (T, voxels), the mean of the
    train clips, which holds no information about the clip.
    """
    place = {name: i for i, name in enumerate(found.column("clip_id"))}
    return np.stack([found.windows[place[n]] if n in place else nothing for n in names])


def phase_randomised(bold: np.ndarray, seed: int | tuple[int, ...]) -> np.ndarray:
    """A phase-randomised run: each frequency gets one random phase, shared by all voxels.

    The spatial covariance and the power spectrum are preserved, so the result is noise with the
    run's own structure; white noise would lie along other directions.

    Args:
        bold: (volumes, voxels).

    Source: Prichard & Theiler 1994.
    """
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(bold - bold.mean(0), axis=0)
    phase = np.exp(2j * np.pi * rng.random(len(spectrum)))
    if len(bold) % 2 == 0:  # the Nyquist term is real: randomise its sign only
        phase[-1] = np.sign(phase[-1].real)
    return np.fft.irfft(spectrum * phase[:, None], n=len(bold), axis=0).astype(np.float32)


def noise_like(windows: np.ndarray, number: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """`number` windows of Gaussian noise with each voxel's mean and standard deviation.

    Args:
        windows: (n, T, voxels) of the subject's test clips; only their mean and standard deviation
            are used.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((number, *windows.shape[1:]), dtype=np.float32)
    return noise * windows.std(0) + windows.mean(0)
