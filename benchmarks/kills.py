"""Kill the workflow again and again, and compare what it makes in the end with an undisturbed run.

    python benchmarks/kills.py WORK [--kills 100] [--settings configs/tiny.yaml] [--seed 0]
        [--targets data/bold/sub-01.safetensors ...]

WORK gets two folders, `whole` (one undisturbed run) and `killed`. In `killed`, the whole process
group is killed by SIGKILL at random moments of its jobs, at least `kills` times in all and every
job at least twice, and the same command is given again, without `--unlock`. In the end every file
of data/, models/ and results/ must have the bytes of `whole`, and nothing else may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm4brain.provenance import sha256

ROOT = Path(__file__).parent.parent
STARTED = re.compile(r"\$SCRIPTS/\w+\.py .*> (\S+) 2>&1")  # its log names a job
MADE = ("data", "models", "results")


def start(folder: Path, settings: Path, targets: Sequence[str]) -> subprocess.Popen[str]:
    """The workflow in `folder`, in a process group of its own, saying each command."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "8", "--printshellcmds"]
    command += ["--configfile", settings, "--", *targets]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that the workflow made, hidden ones included."""
    every = [p for part in MADE for p in (folder / part).rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): sha256(p) for p in every}


def disturbed(
    folder: Path,
    settings: Path,
    targets: Sequence[str],
    each: int,
    durations: Mapping[str, float],
    rng: random.Random,
) -> Counter:
    """Run to the end, killing each job `each` times; returns how often each was killed."""
    done: Counter[str] = Counter()
    tries: Counter[str] = Counter()
    before = ""  # the job at which the last kill was aimed: it was hit if it starts again
    while True:
        run, target, said = start(folder, settings, targets), None, []
        assert run.stdout is not None
        for line in run.stdout:
            said.append(line)
            job = job_of(line)
            if job and job == before:
                done[job], before = done[job] + 1, ""
            if job and done[job] < each and tries[job] < 3 * each:
                target = job
                break
        if target is None:
            if run.wait():
                raise SystemExit("".join(said))
            return done
        tries[target] += 1
        time.sleep(rng.uniform(0, durations[target]))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        before = target


def job_of(line: str) -> str:
    """The log of the job that a line of Snakemake's output starts; else nothing."""
    found = STARTED.search(line)
    return found[1] if found else ""


def whole_run(folder: Path, settings: Path, targets: Sequence[str]) -> dict[str, float]:
    """Run once; returns the seconds between the first command of each job and the next event."""
    run, begun, taken, said = start(folder, settings, targets), {}, {}, []
    assert run.stdout is not None
    for line in run.stdout:
        said.append(line)
        now = time.monotonic()
        if "Finished jobid" in line:
            for job in list(begun):
                taken[job] = now - begun.pop(job)
        if job := job_of(line):
            begun[job] = now
    if run.wait():
        raise SystemExit("".join(said))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--settings", type=Path, default=ROOT / "configs" / "tiny.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=[])
    given = parser.parse_args()
    whole, killed = given.work / "whole", given.work / "killed"
    settings = given.settings.resolve()
    if given.work.exists() and any(given.work.iterdir()):
        raise SystemExit(f"{given.work} is not empty")
    durations = whole_run(whole, settings, given.targets)
    each = max(2, -(-given.kills // len(durations)))
    began = time.monotonic()
    done = disturbed(killed, settings, given.targets, each, durations, random.Random(given.seed))
    for job in sorted(durations):
        print(f"{done[job]}  {job}  ({durations[job]:.1f} s)")
    print(f"{done.total()} kills of {len(durations)} jobs in {time.monotonic() - began:.0f} s")
    expected, found = files(whole), files(killed)
    wrong = sorted(name for name in expected if found.get(name) not in (None, expected[name]))
    lost, left = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    print(f"other bytes: {wrong or 'none'}; lost: {lost or 'none'}; left behind: {left or 'none'}")
    few = [job for job in durations if done[job] < 2]
    print(f"killed less than twice: {few or 'none'}")
    sys.exit(bool(wrong or lost or left or few or done.total() < given.kills))


if __name__ == "__main__":
    main()
