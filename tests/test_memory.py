"""Peak memory of feature extraction does not grow with the number of runs."""

import subprocess
import sys

from conftest import ROOT


def test_many_runs_take_no_more_memory_than_few():
    # ten runs more are 70 MB of clean BOLD more, a quarter of what the smaller step takes
    sizes = ["--few", "2", "--many", "12", "--voxel-mm", "8", "--volumes", "500"]
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
