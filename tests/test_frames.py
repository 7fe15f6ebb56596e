"""Frames of clips: the right ones, and one clear line where there are none."""

import av
import numpy as np
import pytest

from llm4brain.errors import UserError
from llm4brain.video.frames import clip_frames, film_frames, frame_times


@pytest.fixture
def film(tmp_path):
    """Ten seconds at 5 frames a second; frame i is grey of level 5 i."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.bit_rate = 4_000_000
        for i in range(50):
            picture = np.full((32, 32, 3), 5 * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_frames_lie_in_the_middle_of_their_shares(film):
    shown = clip_frames(film, 2.0, 4.0, 4)
    assert shown.shape == (4, 32, 32, 3)
    assert shown.dtype == np.uint8
    expected = 5 * (frame_times(2.0, 4.0, 4) * 5).astype(int)
    np.testing.assert_allclose(shown.mean((1, 2, 3)), expected, atol=4)


def test_many_clips_are_those_of_one_by_one(film):
    spans = [(6.0, 4.0), (0.0, 4.0), (3.0, 2.0)]  # in any order
    together = film_frames(film, spans, 3)
    for clip, (onset, duration) in zip(together, spans, strict=True):
        np.testing.assert_array_equal(clip, clip_frames(film, onset, duration, 3))


@pytest.mark.parametrize("span", [(8.0, 4.0), (-1.0, 2.0)])
def test_clip_beyond_the_film_is_refused(film, span):
    with pytest.raises(UserError, match="has no clip"):
        clip_frames(film, *span, 4)


def test_missing_and_broken_films_are_named(film, tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4.*does not exist"):
        clip_frames(tmp_path / "none.mp4", 0, 4, 4)
    whole = film.read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "text": b"no film",
        "empty": b"",
    }.items():
        broken = tmp_path / f"{name}.mp4"
        broken.write_bytes(content)
        with pytest.raises(UserError, match=name):
            clip_frames(broken, 0, 4, 4)


def test_film_with_a_hole_is_refused(film, tmp_path):
    """An index that promises frames whose bytes are gone must not give grey frames."""
    whole = bytearray(film.read_bytes())
    start = whole.index(b"mdat") + 4
    middle = start + 200
    whole[middle : middle + 2000] = bytes(min(2000, len(whole) - middle))
    broken = tmp_path / "hole.mp4"
    broken.write_bytes(whole)
    try:
        shown = film_frames(broken, [(0.0, 4.0), (4.0, 4.0)], 4)
    except UserError:
        return
    assert shown.shape == (2, 4, 32, 32, 3)
