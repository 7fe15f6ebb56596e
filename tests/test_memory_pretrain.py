"""Peak memory of masked pretraining does not grow with the number of runs."""

import subprocess
import sys

from conftest import ROOT


def test_many_runs_take_no_more_memory_than_few():
    # 36 runs more are 115 MB of windows more (230 as float32), and 230 MB of further BOLD
    sizes = ["--few", "4", "--many", "40", "--volumes", "200"]
    command = [sys.executable, str(ROOT / "benchmarks" / "memory_pretrain.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
