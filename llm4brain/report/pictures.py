"""Pictures on the page: frames of clips and figures of a run, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from llm4brain.errors import UserError
from llm4brain.video.frames import film_frames

PAGE = 7_500_000  # maximum size of the page in bytes; frames get what text and figures leave
# Frames per clip, edge in px and WebP quality; the first option that fits is used.
LADDER = ((3, 128, 70), (3, 96, 60), (3, 72, 50), (2, 72, 50), (1, 72, 45), (1, 48, 40))
AT_ONCE = 16  # number of clips whose frames are in memory at once


@dataclass(frozen=True)
class Strips:
    """Frames of each clip, side by side.

    Attributes:
        uris: clip_id -> WebP as a data URI.
        sizes: clip_id -> width and height, px.
        frames: number of frames per clip.
        edge: longest edge of a frame, px.
    """

    uris: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    frames: int
    edge: int


NO_STRIPS = Strips({}, {}, 0, 0)


def strips(films: Sequence[Path], clips: pd.DataFrame, room: int) -> Strips:
    """Frames of each clip as one small picture, as large as the page allows.

    Args:
        films: films of the clips; their paths end with the clips' `stim_file`.
        clips: rows of the clip table.
        room: maximum total size of all data URIs in bytes. If even the smallest pictures exceed it,
            they are used anyway, so that every clip has a picture.

    Raises:
        UserError: the film of a clip is missing, or cannot be decoded.
    """
    paths = {
        name: path
        for name in clips["stim_file"].unique()
        for path in films
        if f"/{path.as_posix()}".endswith(f"/{name}")
    }
    # longest first, so that the others can be cut from frames in memory
    most, largest = LADDER[0][0], LADDER[0][1]
    read = {
        clip: [_small(frame, largest) for frame in frames]
        for clip, frames in _frames(paths, clips, most)
    }
    for count, edge, quality in LADDER:
        chosen = {clip: _strip(_spread(own, count), edge) for clip, own in read.items()}
        uris = {clip: _webp(image, quality) for clip, image in chosen.items()}
        if sum(map(len, uris.values())) <= room:
            break
    return Strips(uris, {clip: image.size for clip, image in chosen.items()}, count, edge)


def _frames(
    paths: Mapping[str, Path], clips: pd.DataFrame, count: int
) -> Iterator[tuple[str, np.ndarray]]:
    """clip_id and its frames (count, height, width, 3), a few clips at a time."""
    for name, own in clips.groupby("stim_file"):
        if name not in paths:
            raise UserError(name, "is shown in clips but not given", "name the film")
        for begin in range(0, len(own), AT_ONCE):
            part = own.iloc[begin : begin + AT_ONCE]
            times = list(zip(part["onset"], part["duration"], strict=True))
            yield from zip(part["clip_id"], film_frames(paths[name], times, count), strict=True)


def _small(frame: np.ndarray, edge: int) -> Image.Image:
    image = Image.fromarray(frame)
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return image


def _spread(frames: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """`count` evenly spaced frames: of three the middle one, or the first and the last."""
    if count == 1:
        return [frames[len(frames) // 2]]
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]


def _strip(frames: Sequence[Image.Image], edge: int) -> Image.Image:
    """Frames side by side, with edges of at most `edge`."""
    resized = []
    for frame in frames:
        resized.append(frame.copy())
        resized[-1].thumbnail((edge, edge), Image.Resampling.LANCZOS)
    width, height = resized[0].size
    strip = Image.new("RGB", (width * len(resized), height))
    for i, frame in enumerate(resized):
        strip.paste(frame, (i * width, 0))
    return strip


def _webp(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class Picture:
    """A figure of the run on the page; size in px."""

    uri: str
    width: int
    height: int


def picture(path: Path, widest: int = 1600) -> Picture:
    """A PNG of the run as lossless WebP, at most `widest` px wide.

    Raises:
        UserError: the file is missing, or is not a picture.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except FileNotFoundError:
        raise UserError(path, "does not exist", "run the step that makes it") from None
    except OSError as error:
        raise UserError(path, f"is not a picture ({error})", "make it again") from None
    if image.width > widest:
        tall = round(image.height * widest / image.width)
        image = image.resize((widest, tall), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=4)
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri, *image.size)
