"""What `dvc repro` takes over the `snakemake` that it calls, timed in one run of a clean clone.

    python benchmarks/dvc_overhead.py
    python benchmarks/dvc_overhead.py --settings configs/tiny.yaml

Settings are laid over config.yaml. Then the same with nothing to be done.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer
import yaml

from llm4brain.config import load

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SHIM = """#!{python}
import subprocess, sys, time
begin = time.perf_counter()
status = subprocess.call([{snakemake!r}, *sys.argv[1:]])
with open({log!r}, "a") as log:
    print(time.perf_counter() - begin, file=log)
sys.exit(status)
"""


def main(settings: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone, shims, log = Path(folder) / "clone", Path(folder) / "bin", Path(folder) / "log"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        if settings:
            merged = load(ROOT / "config.yaml", settings).model_dump(mode="json")
            (clone / "config.yaml").write_text(yaml.safe_dump(merged))
        shims.mkdir()
        shim = shims / "snakemake"
        shim.write_text(
            SHIM.format(python=sys.executable, snakemake=str(BIN / "snakemake"), log=str(log))
        )
        shim.chmod(0o755)
        path = os.pathsep.join([str(shims), str(BIN), os.environ["PATH"]])
        for what in ("from nothing", "nothing to be done, forced"):
            begin = time.perf_counter()
            force = ["--force"] if "forced" in what else []
            subprocess.run(
                [BIN / "dvc", "repro", *force], cwd=clone, check=True,
                env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            whole = time.perf_counter() - begin
            inner = float(log.read_text().split()[-1])
            more = (whole / inner - 1) * 100
            print(
                f"{what}: dvc repro {whole:.1f} s, snakemake in it {inner:.1f} s: {more:.1f}% more"
            )


if __name__ == "__main__":
    typer.run(main)
