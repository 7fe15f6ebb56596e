"""Peak memory of feature extraction does not grow with the number of runs."""

import subprocess
import sys

from conftest import ROOT


def test_many_runs_take_no_more_memory_than_few():
    # six runs more are 57 MB of clean BOLD more, a sixth of what the larger step takes
    sizes = ["--few", "2", "--many", "8", "--voxel-mm", "8", "--volumes", "650"]
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
