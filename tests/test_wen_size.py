"""The benchmark of a cohort's size runs its steps."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.long
def test_the_steps_run_and_are_measured(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/wen_size.py"), "--scale", "0.017"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]
    assert rows[2:] == ["align", "adapt", "tune", "decode", "reference", "score", "lag_sweep"]
