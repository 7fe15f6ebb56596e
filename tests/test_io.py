"""Files are whole or absent, equal values are equal bytes, damage is one line."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import GONE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from llm4brain import io
from llm4brain.errors import UserError


class Stopped(BaseException):
    pass


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def stopped(path, error):
    """Write half of a file and stop."""
    with io.atomic_write(path) as partial:
        assert partial.suffixes == path.suffixes  # NIfTI writers go by them
        assert partial.parent == path.parent
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stopped])
def test_a_stop_leaves_nothing_half_written(tmp_path, error):
    with pytest.raises(error):
        stopped(tmp_path / "new.txt", error)
    assert files(tmp_path) == []


def test_a_stop_leaves_what_was_there(tmp_path):
    path = tmp_path / "old.nii.gz"
    path.write_text("before")
    with pytest.raises(Stopped):
        stopped(path, Stopped)
    assert path.read_text() == "before"
    assert files(tmp_path) == ["old.nii.gz"]


def test_success_replaces_and_makes_folders(tmp_path):
    for text in ("one", "two"):
        with io.atomic_write(tmp_path / "a" / "b.txt") as partial:
            partial.write_text(text)
    assert (tmp_path / "a" / "b.txt").read_text() == "two"
    assert files(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: io.write_arrays(path, {"a": np.array(["words"])}),
        lambda path: io.write_arrays(path, {"a": np.zeros(2)}, {"no": object()}),
        lambda path: io.write_json(path, {"no": object()}),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, write):
    with pytest.raises(Exception):  # noqa: B017, PT011
        write(tmp_path / "x")
    assert files(tmp_path) == []


def test_arrays_come_back(tmp_path):
    arrays = {
        "b": np.arange(12, dtype=np.float16).reshape(3, 4),
        "a": np.array([True, False]),
        "view": np.arange(12).reshape(3, 4).T,
    }
    io.write_arrays(tmp_path / "x.safetensors", arrays, {"k": [1, "ä"]})
    back = io.Arrays(tmp_path / "x.safetensors")
    assert back.names == ["a", "b", "view"]
    assert back.meta == {"k": [1, "ä"]}
    for name, value in arrays.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value)
    np.testing.assert_array_equal(back.part("b", slice(1, 3)), arrays["b"][1:3])


def test_equal_values_are_equal_bytes(tmp_path):
    arrays = {"b": np.ones(3), "a": np.zeros((2, 2), np.float32)}
    io.write_arrays(tmp_path / "1", arrays, {"x": 1, "y": 2})
    io.write_arrays(tmp_path / "2", dict(reversed(arrays.items())), {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    io.write_json(tmp_path / "3", {"x": 1, "y": [2]})
    io.write_json(tmp_path / "4", {"y": [2], "x": 1})
    assert (tmp_path / "3").read_bytes() == (tmp_path / "4").read_bytes()


def in_parts(arrays):
    """The names of arrays, each with its first row and then with the others, from last to first."""
    for part in (slice(1), slice(1, None)):
        for name in sorted(arrays, reverse=True):
            yield name, arrays[name][part]


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=4).filter(lambda name: name != "__metadata__"),
        arrays(
            st.sampled_from(list(io.TYPES)), array_shapes(max_dims=3, min_side=0, max_side=3)
        ).filter(len),
        max_size=6,
    ),
    st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)),
)
def test_arrays_written_in_parts_are_the_same_bytes(tmp_path_factory, given, meta):
    folder = tmp_path_factory.mktemp("parts")
    shapes = {name: (array.dtype.name, array.shape) for name, array in given.items()}
    io.write_arrays(folder / "whole", given, meta)
    io.stream_arrays(folder / "parts", shapes, in_parts(given), meta)
    assert (folder / "parts").read_bytes() == (folder / "whole").read_bytes()
    back = io.Arrays(folder / "parts")
    for name, array in given.items():
        assert back.mapped(name).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32), np.zeros((3, 3)), np.zeros(3)],
)
def test_parts_that_are_not_what_was_announced_leave_nothing(tmp_path, rows):
    with pytest.raises(ValueError, match="windows"):
        io.stream_arrays(tmp_path / "x", {"windows": ("float32", (3, 3))}, [("windows", rows)])
    assert files(tmp_path) == []


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_damaged_safetensors_file_is_one_line(tmp_path, kept):
    path = tmp_path / "x.safetensors"
    io.write_arrays(path, {"a": np.ones(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="is not a whole safetensors file") as error:
        io.Arrays(path)
    assert "x.safetensors" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_or_array_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        io.Arrays(tmp_path / "none")
    io.write_arrays(tmp_path / "x", {"a": np.ones(3)})
    with pytest.raises(UserError, match="holds no array 'b'"):
        io.Arrays(tmp_path / "x")["b"]
    with pytest.raises(UserError, match="holds no array 'b'"):
        io.Arrays(tmp_path / "x").part("b", slice(1))


def test_tables_come_back(tmp_path):
    table = pd.DataFrame(
        {"subject": ["01", "02"], "caption": ['a "b"\tc', "1"], "x": [0.5, np.nan], "n": [1, 2]}
    )
    for name in ("t.tsv", "t.csv"):
        io.write_table(tmp_path / name, table)
        back = io.read_table(tmp_path / name, ("subject", "x"))
        pd.testing.assert_frame_equal(back, table)
    assert "n/a" in (tmp_path / "t.tsv").read_text()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage\xc3", b'a\tb\n"1\t2\n3'])
@pytest.mark.bad_input("tables", "`{content!r}`")
def test_what_is_no_table_is_one_line(tmp_path, content):
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.tsv") as error:
        io.read_table(path, ("clip_id",))
    assert "\n" not in str(error.value)


def test_a_missing_table_column_or_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        io.read_table(tmp_path / "none.tsv")
    with pytest.raises(UserError, match="is not a table"):
        io.read_table(tmp_path)
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match="has no column clip_id, text"):
        io.read_table(tmp_path / "t.tsv", ("clip_id", "a", "text"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
@pytest.mark.bad_input("JSON", "`{content!r}`", "not there")
def test_what_is_no_json_is_one_line(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: is not JSON"):
        io.read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="does not exist"):
        io.read_json(tmp_path / "none.json")


def test_what_a_kill_left_of_a_file_is_removed_and_of_that_file_alone(tmp_path):
    left = tmp_path / f".partial-{GONE}-a.txt"
    names = [f".partial-{GONE}-b-a.txt", ".partial-a.txt", "a.txt.old"]
    names.append(f".partial-{os.getppid()}-a.txt")  # of a process that is alive
    others = [tmp_path / name for name in names]
    for path in (left, *others):
        path.write_text("half")
    with io.atomic_write(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert not left.exists()
    assert all(path.exists() for path in others)


WRITER = """
import sys, numpy as np
from llm4brain.io import write_arrays, write_table
import pandas as pd
for i in range(60):
    write_arrays(sys.argv[1] + "/a", {"a": np.full(20_000, int(sys.argv[2]))})
    write_table(sys.argv[1] + "/a.tsv", pd.DataFrame({"a": [int(sys.argv[2])] * 500}))
"""


def test_processes_that_write_the_same_files_do_not_harm_them(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(n)], stderr=subprocess.PIPE)
        for n in (1, 2)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "a.tsv").exists():
            numbers = io.Arrays(tmp_path / "a")["a"]
            table = io.read_table(tmp_path / "a.tsv")["a"]
            assert (len(numbers), len(table)) == (20_000, 500)
            assert len(set(numbers)) == table.nunique() == 1
            seen.add(numbers[0])
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert seen == {1, 2}
    assert files(tmp_path) == ["a", "a.tsv"]
