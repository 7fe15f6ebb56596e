"""Frames of films by their presentation times: one reader a film, all its clips in one pass.

Time. Second 0 is when the film's first frame is shown, which is where players begin: some
containers start their clock elsewhere, and an edit list hides what lies before. At second t the
last frame is shown whose presentation time is at most t. A film lasts until its last frame's
time plus that frame's duration.

PyAV says when each frame is shown. decord decodes them, by index, in MP4, MOV, Matroska and
WebM, where its own times are those of PyAV. They are not with edit lists, and in other
containers (AVI with B-frames, MPEG) its times or its seeking are wrong: there PyAV decodes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from llm4brain.errors import UserError

GRACE = 0.1  # s; containers round their durations, and the clip table grants as much
TICK = 1e-3  # s; Matroska rounds times to it
LONGEST = 2.5  # frames that one may be shown for: two, and what rounding adds
NEAR = 8  # frames to either side that say how long one is usually shown
INDEXED = ("mov", "matroska")  # containers in which decord seeks rightly
CLOCKED = ("mpeg", "mpegts")  # containers whose clock starts anywhere
_AGAIN = "copy or encode it again"


@dataclass(frozen=True)
class Film:
    """When the frames of a film are shown.

    Attributes:
        path: the film.
        pts: (frames,) int64, increasing; presentation times in the container's own unit.
        times: (frames,) s from the first frame on.
        length: s.
        indexed: whether decord may decode it.
        mend: what to do if it does not decode.
    """

    path: Path
    pts: np.ndarray
    times: np.ndarray
    length: float
    indexed: bool
    mend: str


def frame_times(onset: float, duration: float, frames: int) -> np.ndarray:
    """Times of `frames` evenly spaced frames, each in the middle of its share of the clip.

    >>> frame_times(8.0, 4.0, 4).tolist()
    [8.5, 9.5, 10.5, 11.5]
    """
    return onset + duration * (np.arange(frames) + 0.5) / frames


def open_film(path: Path) -> Film:
    """Read when each frame is shown, without decoding any.

    Raises:
        UserError: the film is missing or is none, its times do not increase, one frame is shown
            for longer than two, it begins late or is shorter than it says. The line gives the
            command that encodes it again.
    """
    if not path.is_file():
        raise UserError(path, "does not exist", "put the film there or correct its name")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise UserError(path, "holds no video", _AGAIN)
            if stream.codec_context is None:
                wrong = "has a codec that PyAV does not decode"
                raise UserError(path, wrong, _command(path, stream.average_rate or 25))
            packets = [
                (p.pts, p.dts, p.duration or 0, p.is_keyframe, p.is_discard)
                for p in container.demux(stream)
                if p.size
            ]
            unit, kind = float(stream.time_base), container.format.name.split(",")[0]
            claimed = (stream.duration or 0) * unit or _seconds(stream.metadata.get("DURATION", ""))
            start = (container.start_time or 0) / av.time_base if kind in CLOCKED else 0.0
    except av.FFmpegError as error:
        raise UserError(path, f"does not decode as video ({error.strerror})", _AGAIN) from None
    first = next((i for i, packet in enumerate(packets) if packet[3]), 0)
    if any(packet[0] is None for packet in packets):
        wrong = "does not say when each frame is shown"
        raise UserError(path, wrong, _command(path, 25))
    # what precedes the first key frame is not shown, nor what an edit list hides
    shown = sorted(
        (pts, duration)
        for pts, _, duration, _, hidden in packets[first:]
        if not hidden and pts >= packets[first][0]
    )
    if not shown:
        raise UserError(path, "holds no frames", _AGAIN)
    pts = np.array([pts for pts, _ in shown])
    times = (pts - pts[0]) * unit
    lasts = shown[-1][1] * unit or (times[-1] - times[-2] if len(times) > 1 else 0.0)
    length = float(times[-1] + lasts)
    steps = np.append(np.diff(times), lasts)
    usual = float(np.median(steps))
    mend = _command(path, 1 / steps[steps <= LONGEST * usual].mean() if usual else 25)
    order = np.array([dts for _, dts, *_ in packets if dts is not None])
    back = [*(order[1:][np.diff(order) < 0] - pts[0]) * unit, *times[:-1][np.diff(pts) == 0]]
    if back:
        raise UserError(path, f"has times that do not increase (at {back[0]:.3f} s)", mend)
    late = pts[0] * unit - start
    if late > LONGEST * usual:
        raise UserError(path, f"shows its first frame only {late:.3f} s after its start", mend)
    for i in np.flatnonzero(steps > LONGEST * _around(steps)):
        wrong = f"lacks frames: one is shown from {times[i]:.3f} to {times[i] + steps[i]:.3f} s"
        raise UserError(path, wrong, mend)
    if claimed > late + length + LONGEST * usual:
        wrong = f"says that it lasts {claimed:.3f} s, and its frames end at {length:.3f} s"
        raise UserError(path, wrong, f"copy it again or {mend}")
    indexed = kind in INDEXED and len(shown) == len(packets)
    return Film(path, pts, times, length, indexed, mend)


def film_frames(path: Path, clips: Sequence[tuple[float, float]], frames: int) -> np.ndarray:
    """Read many clips of one film.

    Args:
        path: a film.
        clips: onset and duration of each clip, seconds.
        frames: frames read of each clip.

    Returns:
        uint8 (clips, frames, height, width, 3), RGB.

    Raises:
        UserError: `open_film` refuses the film, it cannot be decoded, or it ends before one of
            the clips.
    """
    film = open_film(path)
    for onset, length in clips:
        if onset < 0 or onset + length > film.length + GRACE:
            raise UserError(
                path,
                f"lasts {film.length:g} s, so has no clip from {onset:g} to {onset + length:g} s",
                "correct the clip table or the film",
            )
    wanted = np.array([frame_times(onset, length, frames) for onset, length in clips])
    index = np.searchsorted(film.times, wanted.ravel() + TICK, side="right") - 1
    read = _decoded(film, index)
    # (clips x frames, h, w, 3) -> (clips, frames, h, w, 3)
    return read.reshape(len(clips), frames, *read.shape[1:])


def clip_frames(path: Path, onset: float, duration: float, frames: int) -> np.ndarray:
    """One clip of `film_frames`: uint8 (frames, height, width, 3)."""
    return film_frames(path, [(onset, duration)], frames)[0]


def stimulus_durations(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Seconds of each stimulus; each is checked, and its last frame decoded.

    Raises:
        UserError: `open_film` refuses a stimulus, or it does not decode.
    """
    seconds = {}
    for name in names:
        film = open_film(folder / name)
        _decoded(film, np.array([len(film.pts) - 1]))
        seconds[name] = film.length
    return seconds


def _seconds(told: str) -> float:
    """Of Matroska's `00:01:10.5`; 0 of anything else."""
    parts = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", told)
    return sum(float(part) * 60 ** (2 - k) for k, part in enumerate(parts.groups())) if parts else 0


def _around(steps: np.ndarray) -> np.ndarray:
    """How long frames near each one are shown, the median: (frames,) s.

    A film may change its rate; frames beyond its ends are mirrored.
    """
    padded = np.pad(steps, NEAR, mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1), axis=1)


def _command(path: Path, rate: float | Fraction) -> str:
    """The mend: a constant rate, without holes, from 0 on."""
    new = path.with_name(f"{path.stem}_new.mp4").name
    new = f"./{new}" if new.startswith("-") else new  # which ffmpeg would take for an option
    fps = f"fps={float(rate):.6g}:start_time=0"
    return f"encode it again: ffmpeg -i {shlex.quote(str(path))} -vf {fps} {shlex.quote(new)}"


def _decoded(film: Film, index: np.ndarray) -> np.ndarray:
    """Frames by index: uint8 (n, height, width, 3).

    Raises:
        UserError: one of them does not decode.
    """
    read = _by_decord(film, index) if film.indexed else None
    return _by_av(film, index) if read is None else read


def _by_decord(film: Film, index: np.ndarray) -> np.ndarray | None:
    """As `_decoded`; None where decord fails or its frames are not those of `film.times`."""
    import decord  # here, since decord starts threads on import

    try:
        # without fault_tol a frame that does not decode is silently another one
        reader = decord.VideoReader(str(film.path), num_threads=1, fault_tol=1e-9)
        times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        near = min(np.diff(film.times), default=1.0) / 2
        if len(times) == len(film.times) and (np.abs(times - film.times) < near).all():
            return reader.get_batch(index.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError):
        pass
    return None


def _by_av(film: Film, index: np.ndarray) -> np.ndarray:
    """As `_decoded`; from the start on, since not every container can seek to a frame."""
    wanted, found, reason = set(film.pts[index].tolist()), {}, ""
    try:
        with av.open(str(film.path)) as container:
            stream = container.streams.best("video")
            stream.codec_context.thread_count = 1
            size = {"width": stream.width, "height": stream.height}
            for frame in container.decode(stream):
                if frame.pts in wanted and not frame.is_corrupt:
                    picture = frame.to_ndarray(format="rgb24", **size)
                    found[frame.pts] = np.rot90(picture, frame.rotation // 90)
                    if len(found) == len(wanted):
                        break
    except av.FFmpegError as error:
        reason = f" ({error.strerror})"
    lost = [
        t for pts, t in zip(film.pts[index], film.times[index], strict=True) if pts not in found
    ]
    if lost:
        wrong = f"does not decode at {lost[0]:.3f} s{reason}"
        raise UserError(film.path, wrong, f"copy it again or {film.mend}")
    return np.stack([found[pts] for pts in film.pts[index].tolist()])
