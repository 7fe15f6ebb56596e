"""What several tests share: the workflow as a user calls it, and one run of the tiny cohort."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
TINY = ROOT / "configs" / "tiny.yaml"


def snakemake(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real workflow elsewhere, by its absolute path and with no environment activated."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", directory]
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment["PATH"] = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != Path(sys.executable).parent
    )
    return subprocess.run(
        list(map(str, [*command, "--cores", 8, *arguments])),
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def jobs(directory: Path, *arguments: object) -> dict[str, int]:
    """How many jobs of each rule a dry run would run."""
    done = snakemake(directory, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    if "Nothing to be done" in said:
        return {}
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", said, re.MULTILINE | re.DOTALL)
    assert table, said
    return {name: int(count) for name, count in (row.split() for row in table[1].splitlines())}


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """Where the tiny cohort lives for the whole session; models are fetched there once."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def fetched(workplace) -> Path:
    """`models/llm` and `models/sentence`, as the workflow fetches them; their parent folder."""
    targets = ("models/llm/config.json", "models/sentence/config.json")
    done = snakemake(workplace, "--configfile", TINY, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    return workplace / "models"


@pytest.fixture(scope="session")
def tiny_run(workplace, fetched) -> Path:
    """The folder of one whole run of configs/tiny.yaml, from nothing to table 1."""
    done = snakemake(workplace, "--configfile", TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    return workplace
