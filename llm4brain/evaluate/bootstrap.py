"""Block bootstrap over clips: intervals that account for the similarity of neighbouring clips.

Captions 4 s apart are still similar; at 20 s similarity is at chance (docs/evaluation.md). Whole
blocks of at least 20 s are therefore resampled, never single clips (Kuensch 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from llm4brain.evaluate.names import stimulus_and_onset


def blocks(clip_ids: Sequence[str], seconds: float) -> np.ndarray:
    """Cut each stimulus into runs of consecutive clips of at least `seconds`.

    A remainder at the end of a stimulus is added to the block before it. A stimulus shorter than
    `seconds` is one block.

    Returns:
        Shape (clips,), the index of each clip's block, 0 .. blocks - 1.
    """
    parsed = [stimulus_and_onset(clip) for clip in clip_ids]
    result = np.zeros(len(parsed), dtype=int)
    following = 0
    for stimulus in sorted({s for s, _ in parsed}):
        rows = sorted((onset, row) for row, (s, onset) in enumerate(parsed) if s == stimulus)
        onsets = np.array([onset for onset, _ in rows])
        length = np.diff(onsets).min() if len(rows) > 1 else 0.0
        starts = [onsets[0]]
        for onset in onsets:
            # 1 ms tolerance: onsets are decimals, and 20 s in steps of 0.1 s must stay 20 s
            if onset - starts[-1] >= seconds - 1e-3:
                starts.append(onset)
        if len(starts) > 1 and onsets[-1] + length - starts[-1] < seconds - 1e-3:
            starts.pop()
        own = np.searchsorted(starts, onsets, side="right") - 1
        for (_, row), block in zip(rows, own, strict=True):
            result[row] = following + block
        following += len(starts)
    return result


def resample(block: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Resample the blocks with replacement, `samples` times.

    Args:
        block: shape (clips,), from `blocks`.

    Returns:
        Shape (samples, clips): how often each resample contains each clip. This depends only on the
        clips and the seed, so systems are compared on the same resamples.
    """
    count = int(block.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), samples)
    return draws[:, block].astype(np.float64)


def interval(values: np.ndarray, count: int, level: float = 0.95) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap values.

    With few blocks, plain percentile intervals are too narrow, as is a normal interval from a
    variance divided by n. The expanded interval uses the tails of a t interval with `count` - 1
    degrees of freedom (Hesterberg 2015, What teachers should know about the bootstrap, section 5).

    Args:
        values: shape (samples,).
        count: number of blocks.

    Returns:
        Lower and upper end; NaN if there is only a single block.
    """
    if count < 2:
        return float("nan"), float("nan")
    wide = stats.t.ppf((1 - level) / 2, count - 1) * np.sqrt(count / (count - 1))
    tail = stats.norm.cdf(wide)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def paired_interval(
    a: np.ndarray, b: np.ndarray, clip_ids: Sequence[str], seconds: float, samples: int, seed: int
) -> tuple[float, float]:
    """95% interval of mean(a) - mean(b), both shape (clips,) on the same clips."""
    block = blocks(clip_ids, seconds)
    weights = resample(block, samples, seed)
    difference = weights @ (np.asarray(a) - np.asarray(b)) / weights.sum(axis=1)
    return interval(difference, int(block.max()) + 1)


def beats(
    a: np.ndarray,
    b: np.ndarray,
    clip_ids: Sequence[str],
    seconds: float = 20.0,
    samples: int = 1000,
    seed: int = 0,
) -> bool:
    """Whether the whole 95% interval of mean(a) - mean(b) lies above 0.

    Args:
        a: shape (clips,), values of a metric for each clip, as in the predictions files.
        b: shape (clips,), values of another system on the same clips.
    """
    return bool(paired_interval(a, b, clip_ids, seconds, samples, seed)[0] > 0)
