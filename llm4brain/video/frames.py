"""Frames of clips, read with decord: one reader a film, all its clips in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm4brain.errors import UserError

GRACE = 0.1  # s; containers round their durations, and the clip table grants as much


def frame_times(onset: float, duration: float, frames: int) -> np.ndarray:
    """Times of `frames` evenly spaced frames, each in the middle of its share of the clip.

    >>> frame_times(8.0, 4.0, 4).tolist()
    [8.5, 9.5, 10.5, 11.5]
    """
    return onset + duration * (np.arange(frames) + 0.5) / frames


def film_frames(path: Path, clips: Sequence[tuple[float, float]], frames: int) -> np.ndarray:
    """Read many clips of one film.

    Args:
        path: a film.
        clips: onset and duration of each clip, seconds.
        frames: frames read of each clip.

    Returns:
        uint8 (clips, frames, height, width, 3), RGB.

    Raises:
        UserError: the film is missing, cannot be decoded, or ends before one of the clips.
    """
    import decord  # here, since decord starts threads on import

    if not path.is_file():
        raise UserError(path, "does not exist", "put the film there or correct the events")
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        count, fps = len(reader), float(reader.get_avg_fps())
    except (decord.DECORDError, RuntimeError) as error:
        raise UserError(path, f"is not a film that decodes ({_first(error)})", _AGAIN) from None
    if not count or not fps > 0:
        raise UserError(path, "holds no frames", _AGAIN)
    wanted = np.array([frame_times(onset, length, frames) for onset, length in clips])
    for onset, length in clips:
        if onset < 0 or onset + length > count / fps + GRACE:
            raise UserError(
                path,
                f"lasts {count / fps:g} s, so has no clip from {onset:g} to {onset + length:g} s",
                "correct the clip table or the film",
            )
    index = np.clip(np.floor(wanted * fps + 1e-6).astype(int), 0, count - 1)
    try:
        read = reader.get_batch(index.ravel().tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise UserError(path, f"breaks off ({_first(error)})", _AGAIN) from None
    # (clips x frames, h, w, 3) -> (clips, frames, h, w, 3)
    return read.reshape(len(clips), frames, *read.shape[1:])


def clip_frames(path: Path, onset: float, duration: float, frames: int) -> np.ndarray:
    """One clip of `film_frames`: uint8 (frames, height, width, 3)."""
    return film_frames(path, [(onset, duration)], frames)[0]


_AGAIN = "copy or encode it again"


def _first(error: Exception) -> str:
    """The first line of an error, since decord appends a stack of C++ frames."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
