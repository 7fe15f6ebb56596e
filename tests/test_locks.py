"""After a kill no lock is left in the way; a live run keeps its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, SNAKEMAKE

from llm4brain import locks

HOLD = "import sys, time; from pathlib import Path; from llm4brain import locks; "
HOLD += "print(locks.hold(Path(sys.argv[1])), flush=True); time.sleep(60)"
TARGET = "data/phantom/dataset_description.json"


@pytest.fixture
def left(tmp_path):
    """A lock file as a killed Snakemake leaves it."""
    path = tmp_path / "locks" / "0.input.lock"
    path.parent.mkdir()
    path.touch()
    return path


def holder(folder):
    run = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    return run, run.stdout.readline().strip() == "True"


def test_locks_go_when_their_run_is_dead_and_stay_while_it_lives(tmp_path, left):
    left.unlink()
    runs = [holder(tmp_path)]
    left.touch()
    runs.append(holder(tmp_path))
    assert left.exists()
    for run, removed in runs:
        assert not removed
        run.kill()
        run.wait()
        run.stdout.close()
    assert locks.hold(tmp_path)
    assert not left.exists()


def test_locks_of_another_machine_or_of_a_cluster_stay(tmp_path, left):
    assert not locks.hold(tmp_path)  # a run of which nothing is known
    for place in ("elsewhere", "cluster"):
        (tmp_path / locks.NAME).write_text(place)
        assert not locks.hold(tmp_path)
        assert not locks.hold(tmp_path, cluster=True)
    assert left.exists()


def test_a_folder_that_cannot_be_written_is_no_error():
    assert not locks.hold(Path("/proc/none"))


def test_a_killed_run_needs_no_unlock_and_a_live_job_keeps_its_lock(tmp_path):
    """Snakemake is killed while its job goes on; the job counts as alive."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--cores", 1]
    films = "data/phantom/stimuli/film-01.mp4"
    run = subprocess.Popen(
        [*map(str, command), films], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "logs").glob("phantom_films*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        run.kill()
        run.wait()
        again = subprocess.run([*map(str, command), TARGET, films], capture_output=True, text=True)
        assert again.returncode == 1
        assert "cannot be locked" in again.stdout + again.stderr
        (line,) = (line for line in again.stderr.splitlines() if line.startswith("warning: "))
        assert f"{tmp_path}: another run, or a job of one, is at work in this folder" in line
    finally:
        os.killpg(run.pid, signal.SIGKILL)
    time.sleep(0.5)
    again = subprocess.run([*map(str, command), TARGET], capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (tmp_path / TARGET).is_file()
