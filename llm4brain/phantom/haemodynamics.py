"""From films to BOLD responses: features of the film, convolved with a subject's HRF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import gamma

from llm4brain.phantom.grammar import ATTRIBUTES, Scene

STEP = 0.1  # s, step of the fine time axis
PEAK = 5.0  # s after a brief event, mean of the cohort
PEAK_SPREAD = 0.5  # s, subjects are uniformly distributed within this distance of the mean


def hrf(peak: float) -> np.ndarray:
    """Double-gamma response (as SPM's: shapes 6 and 16, ratio 1/6), stretched to its `peak` (s).

    Returns:
        (time,) in steps of `STEP`, of unit area, so that a sustained stimulus gives 1.
    """
    stretch = peak / 5
    time = np.arange(0, 32 * stretch, STEP) / stretch
    shape = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    return shape / (shape.sum() * STEP)


def best_lag(peak: float, clip_seconds: float) -> float:
    """Seconds from clip onset to the peak of its response."""
    box = np.ones(round(clip_seconds / STEP))
    return float(np.argmax(fftconvolve(box, hrf(peak))) * STEP)


def scene_signals(scenes: Sequence[Scene], clip_seconds: float) -> np.ndarray:
    """1 while an attribute value is shown: (time, all attributes' values) in steps of `STEP`."""
    codes = np.array([scene.codes for scene in scenes])
    each = np.hstack(
        [np.eye(len(v))[codes[:, k]] for k, v in enumerate(ATTRIBUTES.values())]
    )  # (clips, values)
    return np.repeat(each, round(clip_seconds / STEP), axis=0)


def lowlevel_signals(luminance: np.ndarray, rate: float, duration: float) -> np.ndarray:
    """Luminance and motion energy of each cell of a film.

    Args:
        luminance: (frames, cells, cells), 0 to 1.
        rate: frames per second.
        duration: of the film, s.

    Returns:
        (time, 2 x cells x cells): luminance relative to mid grey, then change between frames.
    """
    flat = luminance.reshape(len(luminance), -1)
    change = np.abs(np.diff(flat, axis=0, prepend=flat[:1])) * rate
    both = np.hstack([flat - 0.5, change])
    frame = (np.arange(round(duration / STEP)) * STEP * rate).astype(int)
    return both[np.minimum(frame, len(both) - 1)]


def responses(
    signals: np.ndarray, peak: float, lead_in: float, volumes: int, tr: float
) -> np.ndarray:
    """BOLD responses at the time of each volume.

    Args:
        signals: (time, features) from film onset on, in steps of `STEP`.
        peak: of the subject's HRF, s.
        lead_in: seconds from the first volume to film onset.
        volumes: of the run.
        tr: seconds between volumes.

    Returns:
        float32 (volumes, features).
    """
    answer = fftconvolve(signals, hrf(peak)[:, None] * STEP, axes=0)
    at = np.round((np.arange(volumes) * tr - lead_in) / STEP).astype(int)
    inside = (at >= 0) & (at < len(answer))
    out = np.zeros((volumes, signals.shape[1]), np.float32)
    out[inside] = answer[at[inside]]
    return out
