"""Films as MP4, and captions of each clip."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image

from llm4brain.errors import UserError
from llm4brain.io import atomic_write
from llm4brain.phantom.grammar import Scene, captions
from llm4brain.phantom.render import Look, clip_frames


def write_film(path: str | Path, frames: Iterable[Image.Image], fps: float, group: int) -> None:
    """Write RGB frames as H.264 (MPEG-4 if PyAV has no libx264), with reproducible bytes.

    Args:
        path: of the MP4; written atomically.
        frames: all of the same, even size.
        fps: frames per second.
        group: frames between key frames; set to a clip's length to make clips seekable.
    """
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with (
        atomic_write(path) as partial,
        av.open(
            str(partial),
            "w",
            format="mp4",
            options={"fflags": "+bitexact", "movflags": "faststart"},
        ) as film,
    ):
        stream = film.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the bytes depend on the number of threads
        stream.codec_context.gop_size = group
        if codec == "libx264":
            stream.options = {"preset": "superfast", "crf": "20", "tune": "animation"}
        for k, image in enumerate(frames):
            if k == 0:
                stream.width, stream.height = image.size
            film.mux(stream.encode(av.VideoFrame.from_image(image)))
        film.mux(stream.encode(None))


def scene_film(
    path: str | Path, scenes: Sequence[Scene], seconds: float, fps: float, size: int, seed: str
) -> None:
    """Film of `scenes` back to back, `seconds` each; `seed` determines each showing's look."""
    looks = [Look.draw(random.Random(f"{seed} look {i}")) for i in range(len(scenes))]
    frames = (
        image
        for scene, look in zip(scenes, looks, strict=True)
        for image in clip_frames(scene, look, seconds, fps, size)
    )
    write_film(path, frames, fps, group=max(1, round(seconds * fps)))


def caption_table(scenes: Sequence[Scene], seconds: float, count: int, seed: str) -> pd.DataFrame:
    """`count` captions of each clip, one per row: onset and duration (s), caption."""
    rows = [
        (i * seconds, seconds, text)
        for i, scene in enumerate(scenes)
        for text in captions(scene, count, random.Random(f"{seed} captions {i}"))
    ]
    return pd.DataFrame(rows, columns=["onset", "duration", "caption"])


def read_luminance(path: str | Path, cells: int) -> tuple[np.ndarray, float]:
    """Mean luminance of a film on a coarse grid.

    Args:
        path: of the MP4.
        cells: number of cells along an edge of the grid.

    Returns:
        float32 (frames, cells, cells) from 0 to 1, row 0 at the top; and frames per second.

    Raises:
        UserError: the film is missing or is not a video.
    """
    try:
        with av.open(str(path)) as film:
            stream = film.streams.video[0]
            stream.codec_context.thread_count = 1
            planes = [_luma(frame) for frame in film.decode(stream)]
            rate = float(stream.average_rate or 0)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise UserError(path, f"is not a film ({error})", "make the stimuli first") from None
    edge = planes[0].shape[0] // cells
    grid = np.stack(planes)[:, : edge * cells, : edge * cells].astype(np.float32)
    # (frames, cells * edge, cells * edge) -> (frames, cells, cells)
    grid = grid.reshape(len(planes), cells, edge, cells, edge).mean(axis=(2, 4)) / 255
    return grid, rate


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """The Y plane of a yuv420p frame, (height, width) uint8."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()
