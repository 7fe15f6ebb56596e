"""How much memory a step of the pipeline takes at most: for the benchmarks beside this file."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts"
# What a step holds itself, looked at every 5 ms, and the kernel's own peak of it. The second has
# the pages of torch's libraries that happen to be mapped besides, which say nothing of a cohort.
# (getrusage would count the process that began it.)
WATCHED = """import atexit, re, runpy, sys, threading, time
def status(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])
most = 0
def look():
    global most
    while True:
        most = max(most, status("RssAnon"))
        time.sleep(0.005)
threading.Thread(target=look, daemon=True).start()
atexit.register(lambda: print(most, status("VmHWM")))
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def peak(script: str, *options: str | Path) -> tuple[float, float]:
    """Peak of a step's own memory and of all that it maps, MB."""
    command = [sys.executable, "-c", WATCHED, SCRIPTS / f"{script}.py", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    own, mapped = done.stdout.split()[-2:]
    return int(own) / 1024, int(mapped) / 1024


def compare(found: dict[str, list[tuple[float, float]]], few: int, many: int) -> int:
    """Tell what each step took at few and at many runs; 1 if one took 10% more in all."""
    worst = 0.0
    for step, (before, after) in found.items():
        own, mapped = (b / a - 1 for a, b in zip(before, after, strict=True))
        worst = max(worst, mapped)
        print(
            f"{step}: {before[1]:.0f} MB at {few} runs, {after[1]:.0f} at {many}: {mapped:+.1%}; "
            f"without libraries and mapped files {before[0]:.0f}, {after[0]:.0f}: {own:+.1%}"
        )
    return int(worst >= 0.1)
