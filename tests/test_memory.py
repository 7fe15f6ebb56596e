"""Peak memory does not grow with the number of runs."""

import subprocess
import sys

import pytest
from conftest import ROOT


# 36 runs more are 158 MB of clean BOLD, and 144 MB of windows and 288 MB of further BOLD.
@pytest.mark.parametrize(
    "steps", ["memory", pytest.param("memory_pretrain", marks=pytest.mark.long)]
)
def test_forty_runs_take_no_more_memory_than_four(steps):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{steps}.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
