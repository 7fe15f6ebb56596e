"""What a stage has finished is found again, whole, and only under the same identity."""

import numpy as np
import pytest
import torch

from llm4brain.checkpoint import NO_PROGRESS, Progress, hash_of, remove_checkpoint, stamp
from llm4brain.errors import UserError
from llm4brain.io import write_arrays

SHAPES = {"a": ("float32", (6, 2)), "b": ("int16", (3,))}
WHOLE = {"a": np.arange(12, dtype=np.float32).reshape(6, 2), "b": np.arange(3, dtype=np.int16)}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def never():
    raise AssertionError("was made again")


def test_values_are_found_again(tmp_path):
    first = Progress(tmp_path, "x")
    assert first.value(["a", 0.5], lambda: (1 / 3, float("inf"))) == [1 / 3, float("inf")]
    assert first.value("text", lambda: "zwei\u2028Zeilen\n") == "zwei\u2028Zeilen\n"
    again = Progress(tmp_path, "x")
    assert again.value(["a", 0.5], never) == [1 / 3, float("inf")]
    assert again.value("text", never) == "zwei\u2028Zeilen\n"
    assert again.value(["a", 0.6], lambda: 2) == 2


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_line_that_a_kill_has_cut_is_made_again(tmp_path, kept):
    first = Progress(tmp_path, "x")
    first.value("one", lambda: 1)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    first.value("two", lambda: [2.5])
    path.write_bytes(before + path.read_bytes()[len(before) :][:kept])
    again = Progress(tmp_path, "x")
    assert (again.value("one", never), again.value("two", lambda: [2.5])) == (1, [2.5])
    assert Progress(tmp_path, "x").value("two", never) == [2.5]


def test_tensors_are_found_again_if_they_are_whole(tmp_path):
    made = {"x": torch.randn(2, 3).bfloat16(), "y": torch.arange(4)[::2]}
    Progress(tmp_path, "x").tensors("k", lambda: made)
    found = Progress(tmp_path, "x").tensors("k", never)
    assert found.keys() == made.keys()
    assert all(torch.equal(found[name], made[name]) for name in made)
    assert not Progress(tmp_path, "x").tensors("none", dict)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert Progress(tmp_path, "x").tensors("k", lambda: made) is made


def test_another_identity_finds_nothing_and_clears(tmp_path):
    first = Progress(tmp_path, {"seed": 0})
    first.value("v", lambda: 1)
    first.tensors("t", lambda: {"x": torch.zeros(1)})
    (tmp_path / "epoch-0001.safetensors").touch()
    other = Progress(tmp_path, {"seed": 1}, writes=False)
    assert other.value("v", lambda: 2) == 2
    assert len(list(tmp_path.iterdir())) == 3  # a process that does not write deletes nothing
    Progress(tmp_path, {"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001.safetensors"]


def test_nothing_is_kept_without_a_folder():
    assert NO_PROGRESS.value("k", lambda: (1, 2)) == [1, 2]
    assert NO_PROGRESS.value("k", lambda: 3) == 3
    made = {"x": torch.zeros(1)}
    assert NO_PROGRESS.tensors("k", lambda: made) is made


def batches(made, dies_at=None):
    """Rows of two arrays in turns; `made` counts what was made."""
    for i, (name, rows) in enumerate([("a", 2), ("b", 3), ("a", 1), ("a", 3)]):

        def make(i=i, name=name, rows=rows):
            if i == dies_at:
                raise Killed
            made.append(i)
            first = {0: 0, 1: 0, 2: 2, 3: 3}[i]
            return {name: WHOLE[name][first : first + rows]}

        yield make


@pytest.mark.parametrize("dies_at", range(4))
def test_a_stream_goes_on_after_a_kill(tmp_path, dies_at):
    write_arrays(tmp_path / "whole", WHOLE, {"m": 1})
    folder, out, made = tmp_path / "kept", tmp_path / "out", []
    with pytest.raises(Killed):
        Progress(folder, "x").stream(out, SHAPES, batches(made, dies_at), {"m": 1})
    assert not out.exists()
    shapes = {name: [kind, list(shape)] for name, (kind, shape) in SHAPES.items()}  # of JSON
    Progress(folder, "x").stream(out, shapes, batches(made), {"m": 1})
    assert made == [0, 1, 2, 3]
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()
    assert out.stat().st_mode == (tmp_path / "whole").stat().st_mode
    remove_checkpoint(folder)
    assert not folder.exists()


@pytest.mark.parametrize("loss", ["gone", "cut"])
def test_a_stream_whose_file_is_lost_begins_again(tmp_path, loss):
    folder, out, made = tmp_path / "kept", tmp_path / "out", []
    with pytest.raises(Killed):
        Progress(folder, "x").stream(out, SHAPES, batches([], 2))
    (partial,) = folder.glob("*.stream")
    if loss == "gone":
        partial.unlink()
    else:
        partial.write_bytes(partial.read_bytes()[:30])
    Progress(folder, "x").stream(out, SHAPES, batches(made))
    write_arrays(tmp_path / "whole", WHOLE)
    assert made == [0, 1, 2, 3]
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_stream_that_another_process_writes_is_left_to_it(tmp_path):
    """The second one neither truncates the first one's file nor takes its place."""
    folder, out = tmp_path / "kept", tmp_path / "out"
    first, *others = batches([])

    def disturbed():
        with pytest.raises(UserError, match="is being written by another process"):
            Progress(folder, "x").stream(out, SHAPES, batches([]))
        return first()

    Progress(folder, "x").stream(out, SHAPES, [disturbed, *others])
    write_arrays(tmp_path / "whole", WHOLE)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_stream_that_is_too_short_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="a: not written as long"):
        Progress(tmp_path / "kept").stream(tmp_path / "out", {"a": SHAPES["a"]}, [])
    assert not (tmp_path / "out").exists()


def test_identities(tmp_path):
    assert hash_of(torch.zeros(2, 3)) != hash_of(torch.zeros(3, 2))
    assert hash_of(torch.zeros(1, 0, 4)) == hash_of(torch.zeros(1, 0, 4))
    assert stamp(tmp_path / "none") == ["none"]
    (tmp_path / "film").write_bytes(b"a")
    before = stamp(tmp_path / "film")
    (tmp_path / "film").write_bytes(b"ab")
    assert stamp(tmp_path / "film") != before
