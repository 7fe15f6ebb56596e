"""Films whose frames show their own number, and copies of them as cutting and losing make them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BLOCK = 16  # pixels; a bit of the number is a block this wide


def paint(number: int) -> np.ndarray:
    """uint8 (32, 128, 3): the number's eight bits, from left to right."""
    bits = [number >> k & 1 for k in range(8)]
    return np.tile(np.repeat(bits, BLOCK)[None, :, None], (32, 1, 3)).astype(np.uint8) * 255


def numbers(frames: np.ndarray) -> np.ndarray:
    """The numbers that frames (..., 32, 128, 3) show."""
    middle = frames[..., 8:24, :, :].reshape(*frames.shape[:-3], 16, 8, BLOCK, 3)
    bits = middle[..., 4:12, :].mean((-4, -2, -1)) > 128
    return (bits * 2 ** np.arange(8)).sum(-1)


def film(
    path: Path,
    times: Sequence[float],
    codec: str = "libx264",
    b_frames: int = 2,
    group: int = 250,
    options: dict[str, str] | None = None,
) -> Path:
    """A film that shows frame i from times[i] (s) on; `options` are the container's.

    Its clock ticks at the rate of its last frames, since MPEG and AVI know no other.
    """
    rate = round(1 / (times[-1] - times[-2]))
    with av.open(str(path), "w", options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height = 128, 32
        context = stream.codec_context
        context.gop_size, context.time_base, context.thread_count = group, Fraction(1, rate), 1
        if codec != "libsvtav1":  # which takes neither
            context.bit_rate, context.max_b_frames = 2_000_000, b_frames
        if codec == "libx264":
            stream.options = {"x264-params": "scenecut=0"}
        for i, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(paint(i), format="rgb24")
            frame.pts, frame.time_base = round(t * rate), Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def copied(
    source: Path, path: Path, keep: Callable[[int], bool] = lambda i: True, shift: float = 0.0
) -> Path:
    """A copy without decoding: packets that `keep` says, all times `shift` s later."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        out = new.add_stream_from_template(stream)
        later = round(shift / stream.time_base)
        for i, packet in enumerate(old.demux(stream)):
            if packet.size and keep(i):
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
                packet.stream = out
                new.mux(packet)
    return path


def even(count: int, rate: float, start: float = 0.0) -> list[float]:
    """Times of `count` frames at a constant rate."""
    return [start + i / rate for i in range(count)]
