"""Too little memory, of the machine or a GPU, is one line that names the setting to lower."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from llm4brain.config import Config
from llm4brain.errors import UserError, one_line_errors
from llm4brain.memory import KILLED, REMEDY, in_memory, killed

COMMON = (ROOT / "rules" / "common.smk").read_text()
PREFIX = "".join(re.findall(r'^    "((?:exec 3>&2|trap|python -m).*)"$', COMMON, re.MULTILINE))
PREFIX = PREFIX.replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize(
    ("error", "there"),
    [
        (np._core._exceptions._ArrayMemoryError((2**40,), np.dtype("f4")), "there is"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "there is"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "there is"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "the GPU has"),
    ],
)
def test_an_allocation_that_fails_names_the_setting(capsys, error, there):
    with pytest.raises(SystemExit) as stop, one_line_errors(), in_memory("tune"):
        raise error
    assert stop.value.code == 1
    line = rf"error: tune: needs more memory than {there}; lower tune\.fit\.batch_size, .*\n"
    assert re.fullmatch(line, capsys.readouterr().err)


@pytest.mark.parametrize("size", [2**50, 2**62])
def test_what_the_libraries_raise_is_known(size):
    for library in (np, torch):
        with pytest.raises(UserError, match="bold: needs more memory"), in_memory("bold"):
            library.empty(size // 8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), in_memory("tune"):
        raise RuntimeError("shapes do not fit")


def test_the_settings_and_scripts_exist():
    for script, todo in REMEDY.items():
        assert (ROOT / "scripts" / f"{script}.py").is_file()
        for name in re.findall(r"[a-z]\w*(?:\.\w+)+", todo):
            section = Config
            for key in name.split("."):
                section = section.model_fields[key].annotation


def job(tmp_path, script, log="> log 2>&1"):
    """What Snakemake runs: bash with the prefix of all jobs."""
    (tmp_path / "tune.py").write_text(script)
    command = f"set -euo pipefail; {PREFIX} {sys.executable} $SCRIPTS/tune.py --out x {log}"
    told = {"PYTHONPATH": str(ROOT), "PATH": os.path.dirname(sys.executable) + ":/usr/bin:/bin"}
    told |= {"SCRIPTS": str(tmp_path)}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=told, cwd=tmp_path
    )


KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
LINE = "error: tune: was killed, probably for want of memory; lower tune.fit.batch_size"


def test_a_job_that_the_system_kills_says_so_in_its_log(tmp_path):
    done = job(tmp_path, KILL)
    assert done.returncode == KILLED
    assert LINE not in done.stderr
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith(LINE)


def test_a_log_that_cannot_be_written_leaves_the_terminal(tmp_path):
    done = job(tmp_path, KILL, "> /dev/full 2>&1")
    assert done.returncode == KILLED
    assert LINE in done.stderr


def test_a_killed_process_of_torchrun_is_told(tmp_path):
    done = job(
        tmp_path, "import sys; sys.exit('  traceback : Signal 9 (SIGKILL) received by PID 7')"
    )
    assert done.returncode == 1
    assert LINE in (tmp_path / "log").read_text()


def test_a_job_that_fails_otherwise_is_left_alone(tmp_path):
    done = job(tmp_path, "import sys; sys.exit('error: a: is wrong; mend it')")
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "log").read_text() == "error: a: is wrong; mend it\n"
    assert killed(1, "no job") == ""
