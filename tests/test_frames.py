"""Frames of clips: the right ones, and one clear line where there are none."""

import doctest
import multiprocessing
import os
import re

import av
import av.filter
import numpy as np
import pytest
from painted import copied, even, film, numbers

from llm4brain.errors import UserError
from llm4brain.phantom.films import scene_film
from llm4brain.phantom.grammar import every_scene
from llm4brain.video import frames
from llm4brain.video.frames import (
    clip_frames,
    film_frames,
    frame_times,
    open_film,
    stimulus_durations,
)

VARIABLE = even(50, 10) + even(150, 30, 5.0)
HOLE = even(100, 25) + even(100, 25, 6.0)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Ten seconds at 5 frames a second; frame i is grey of level 5 i."""
    path = tmp_path_factory.mktemp("grey") / "film.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.bit_rate = 4_000_000
        for i in range(50):
            picture = np.full((32, 32, 3), 5 * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_examples_of_the_docstrings():
    failed, tried = doctest.testmod(frames)
    assert tried > 0
    assert failed == 0


def test_frames_lie_in_the_middle_of_their_shares(grey):
    shown = clip_frames(grey, 2.0, 4.0, 4)
    assert shown.shape == (4, 32, 32, 3)
    assert shown.dtype == np.uint8
    expected = 5 * (frame_times(2.0, 4.0, 4) * 5).astype(int)
    np.testing.assert_allclose(shown.mean((1, 2, 3)), expected, atol=4)


def test_many_clips_are_those_of_one_by_one(grey):
    spans = [(6.0, 4.0), (0.0, 4.0), (3.0, 2.0)]  # in any order
    together = film_frames(grey, spans, 3)
    for clip, (onset, duration) in zip(together, spans, strict=True):
        np.testing.assert_array_equal(clip, clip_frames(grey, onset, duration, 3))


@pytest.mark.parametrize("span", [(8.0, 4.0), (-1.0, 2.0)])
@pytest.mark.bad_input("films", "a clip of onset and seconds {span} in a film of 10 s")
def test_clip_beyond_the_film_is_refused(grey, span):
    with pytest.raises(UserError, match="has no clip"):
        clip_frames(grey, *span, 4)


# -- which frame is shown at which time


def check(path, times, length, first=0):
    """The film shows frame `first` + i from times[i] on and lasts `length` s."""
    opened = open_film(path)
    assert opened.length == pytest.approx(length, abs=2e-3)
    starts = np.append(times, length)
    middles = (starts[:-1] + starts[1:]) / 2
    shown = film_frames(path, [(t - 0.005, 0.01) for t in middles], 1)
    np.testing.assert_array_equal(numbers(shown[:, 0]), first + np.arange(len(times)))
    # in another order, and few of them: nothing depends on what was read before
    some = np.random.default_rng(0).permutation(len(times))[:20]
    shown = film_frames(path, [(middles[i] - 0.005, 0.01) for i in some], 1)
    np.testing.assert_array_equal(numbers(shown[:, 0]), first + some)
    return opened


@pytest.mark.parametrize(
    ("name", "codec", "b_frames", "indexed"),
    [
        ("a.mp4", "libx264", 2, True),
        ("a.mov", "libx264", 2, True),
        ("a.mkv", "libx264", 2, True),
        ("a.webm", "libvpx-vp9", 0, True),
        ("a.avi", "mpeg4", 0, False),
        ("b frames.avi", "mpeg4", 2, False),
        ("h264.avi", "libx264", 2, False),
        ("mpeg1.mpg", "mpeg1video", 2, False),
        ("mpeg2.mpg", "mpeg2video", 0, False),
        ("a.ts", "mpeg2video", 2, False),
    ],
)
def test_every_container_shows_the_right_frame(tmp_path, name, codec, b_frames, indexed):
    path = film(tmp_path / name, even(200, 25), codec, b_frames, group=12)
    assert check(path, even(200, 25), 8.0).indexed == indexed


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_rate(tmp_path, name):
    path = film(tmp_path / name, VARIABLE)
    check(path, VARIABLE, 10.0)
    expected = [22, 27, 32, 37]  # the clip from 2 to 4 s at 10 frames a second
    assert numbers(clip_frames(path, 2.0, 2.0, 4)).tolist() == expected


def test_a_cut_without_decoding_shows_nothing_that_the_edit_list_hides(tmp_path):
    long = film(tmp_path / "long.mp4", even(200, 20))
    cut = copied(long, tmp_path / "cut.mp4", shift=-3.3)
    with av.open(str(cut)) as container:  # the frames before the cut are still in the file
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 134
    check(cut, even(134, 20), 6.7, first=66)


def test_a_clock_that_starts_late_within_two_frames(tmp_path):
    late = copied(film(tmp_path / "a.mp4", even(100, 20)), tmp_path / "late.mp4", shift=0.1)
    check(late, even(100, 20), 5.0)


def test_av1_is_read_though_decord_cannot(tmp_path, capfd):
    path = tmp_path / "av1.mp4"
    # As root, the encoder gives its process real-time priority 99, which starves all others: the
    # browser of later tests hung. So it has a process of its own.
    alone = multiprocessing.get_context("spawn").Process(
        target=film, args=(path, even(50, 25), "libsvtav1")
    )
    alone.start()
    alone.join()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    capfd.readouterr()  # the encoder's
    check(path, even(50, 25), 2.0)
    assert capfd.readouterr().err == ""


def test_a_film_on_its_side_is_turned_by_either_decoder(tmp_path):
    path = tmp_path / "side.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 32
        stream.set_display_rotation(90)
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:16, :32] = 255
        for _ in range(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    opened, index = open_film(path), np.arange(10)
    by_decord, by_av = frames._by_decord(opened, index), frames._by_av(opened, index)
    assert by_decord.shape == (10, 64, 32, 3)
    np.testing.assert_array_equal(by_av, by_decord)


@pytest.mark.parametrize("fps", [5.0, 12.0, 25.0])
def test_the_phantom_s_frames_are_those_that_its_rate_gives(tmp_path, fps):
    """The same bytes as of floor(t x rate), by which the phantom's results were made."""
    import decord

    path = tmp_path / "film.mp4"
    scene_film(path, every_scene()[:4], 4.0, fps, 32, "seed")
    spans = [(4.0 * k, 4.0) for k in range(4)]
    reader = decord.VideoReader(str(path), num_threads=1)
    for count in (1, 3, 4, 8):
        wanted = np.concatenate([frame_times(*span, count) for span in spans])
        index = np.floor(wanted * reader.get_avg_fps() + 1e-6).astype(int)
        expected = reader.get_batch(index.tolist()).asnumpy()
        found = film_frames(path, spans, count)
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert open_film(path).length == pytest.approx(len(reader) / reader.get_avg_fps())


def test_both_decoders_give_the_same_bytes(tmp_path):
    opened = open_film(film(tmp_path / "a.mp4", VARIABLE))
    index = np.arange(0, 200, 3)
    np.testing.assert_array_equal(frames._by_av(opened, index), frames._by_decord(opened, index))


# -- what is refused


def refused(path, said):
    """One line that names the film, the fault and a mend."""
    with pytest.raises(UserError, match=said) as error:
        open_film(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return error.value.todo


@pytest.mark.bad_input("films", "not there", "a truncated file", "a text file", "an empty file")
def test_missing_and_broken_films_are_named(grey, tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4.*does not exist"):
        clip_frames(tmp_path / "none.mp4", 0, 4, 4)
    whole = grey.read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "text": b"no film",
        "empty": b"",
    }.items():
        broken = tmp_path / f"{name}.mp4"
        broken.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}.mp4: does not decode"):
            clip_frames(broken, 0, 4, 4)


@pytest.mark.bad_input("films", "bytes in the middle are zero")
def test_a_film_with_bytes_wiped_out_is_refused(tmp_path):
    """An index that promises frames whose bytes are gone must not give other frames."""
    path = film(tmp_path / "wiped.mp4", even(100, 25), b_frames=0, group=10)
    whole = bytearray(path.read_bytes())
    start = whole.index(b"mdat") + 4
    whole[start + 1500 : start + 3000] = bytes(1500)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"wiped.mp4: does not decode at \d"):
        film_frames(path, [(0.0, 4.0)], 100)


@pytest.mark.parametrize("name", ["missing.mp4", "missing.mkv"])
@pytest.mark.bad_input("films", "packets are missing ({name})")
def test_packets_missing_in_the_middle(tmp_path, name):
    whole = film(tmp_path / "whole.mp4", even(200, 20), b_frames=0, group=20)
    path = copied(whole, tmp_path / name, keep=lambda i: not 70 <= i < 100)
    todo = refused(path, r"lacks frames: one is shown from 3\.450 to 5\.000 s")
    command = rf"ffmpeg -i \S+{name} -vf fps=20:start_time=0 missing_new\.mp4"
    assert re.fullmatch(f"encode it again: {command}", todo)


@pytest.mark.parametrize(("name", "codec"), [("holes.avi", "mpeg4"), ("holes.mpg", "mpeg2video")])
@pytest.mark.bad_input("films", "a second without frames ({name})")
def test_avi_and_mpeg_with_holes(tmp_path, name, codec):
    refused(film(tmp_path / name, HOLE, codec, group=12), "lacks frames: one is shown from 4|3.96")


def test_one_missing_frame_is_no_hole(tmp_path):
    times = [t for i, t in enumerate(even(100, 30)) if i != 40]
    check(film(tmp_path / "a.mkv", times), times, 100 / 30)


@pytest.mark.bad_input("films", "the picture starts seconds late")
def test_a_film_that_starts_seconds_late(tmp_path):
    whole = film(tmp_path / "whole.mp4", even(100, 20), b_frames=0)
    late = copied(whole, tmp_path / "late.mp4", shift=2.0)
    refused(late, r"shows its first frame only 2\.000 s after its start")


@pytest.mark.bad_input("films", "cut before its first key frame")
def test_a_cut_before_its_first_key_frame(tmp_path):
    long = film(tmp_path / "long.mp4", even(100, 20), b_frames=0, group=20)
    cut = copied(long, tmp_path / "cut.ts", keep=lambda i: i >= 10)
    refused(cut, r"shows its first frame only 0\.500 s after its start")


@pytest.mark.bad_input("films", "two films in one file")
def test_times_that_go_back(tmp_path):
    whole = film(tmp_path / "whole.ts", even(100, 20), "mpeg2video", 0, group=10)
    path = tmp_path / "twice.ts"
    path.write_bytes(2 * whole.read_bytes())
    refused(path, "has times that do not increase")


def test_a_container_that_claims_more_than_it_holds(tmp_path):
    front = {"movflags": "faststart"}
    for name, options in {"a.mp4": front, "a.mkv": None}.items():
        path = film(tmp_path / name, even(250, 30), group=30, options=options)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 7 // 10])
        assert "copy it again" in refused(path, r"says that it lasts 8\.3.. s, and its frames end")
    path = film(tmp_path / "a.avi", even(200, 30), "mpeg4", 0)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"strh") + 8 + 32  # dwLength, frames of the stream
    whole[at : at + 4] = (431).to_bytes(4, "little")
    path.write_bytes(whole)
    refused(path, r"says that it lasts 14\.367 s, and its frames end at 6\.667 s")


@pytest.mark.bad_input("films", "an unknown codec")
def test_a_codec_that_nothing_here_decodes(tmp_path):
    path = film(tmp_path / "a.mp4", even(50, 25))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    todo = refused(path, "has a codec that PyAV does not decode")
    assert "-vf fps=25:" in todo


def test_the_mend_mends(tmp_path):
    """The command's filter, in place of ffmpeg: each frame is back at its time."""
    whole = film(tmp_path / "whole.mp4", even(200, 20), b_frames=0, group=20)
    path = copied(whole, tmp_path / "missing.mp4", keep=lambda i: not 60 <= i < 100)
    fps = re.search(r"-vf fps=(\S+)", refused(path, "lacks frames"))[1]
    with av.open(str(path)) as old, av.open(str(tmp_path / "new.mp4"), "w") as new:
        stream = old.streams.video[0]
        out = new.add_stream("libx264", rate=20)
        out.width, out.height = 128, 32
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=stream), graph.add("fps", fps), graph.add("buffersink")
        ).configure()
        for frame in [*old.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    new.mux(out.encode(graph.pull()))
                except (av.BlockingIOError, av.EOFError):
                    break
        new.mux(out.encode(None))
    expected = [i if i < 60 or i >= 100 else 59 for i in range(200)]
    shown = film_frames(tmp_path / "new.mp4", [(t, 0.05) for t in even(200, 20)], 1)
    assert numbers(shown[:, 0]).tolist() == expected


def test_films_are_measured_and_reading_writes_nothing_beside_them(tmp_path):
    folder = tmp_path / "stimuli"
    folder.mkdir()
    film(folder / "a.mp4", even(50, 25))
    film(folder / "b.avi", even(150, 30), "mpeg4")

    def state():
        return [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(folder)]

    before = state()
    seconds = stimulus_durations(folder, ["a.mp4", "b.avi"])
    assert seconds == {"a.mp4": pytest.approx(2.0), "b.avi": pytest.approx(5.0)}
    film_frames(folder / "b.avi", [(0.0, 2.0)], 2)
    assert state() == before
    with pytest.raises(UserError, match=r"c.mp4: does not exist"):
        stimulus_durations(folder, ["a.mp4", "c.mp4"])
