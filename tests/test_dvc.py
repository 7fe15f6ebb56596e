"""DVC and Snakemake as one state: in no way of going on is a result older than what made it.

Each scenario is a throw-away clone of one base, whose data, models and results were made by
`dvc repro` at the tiny size and pushed to a remote on disk. The bytes of table 1 are compared with
those of runs from scratch: the base's own, and one with another setting (`tiny_run`).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from conftest import BLOCK, ROOT, counted

from llm4brain.provenance import sha256

BIN = Path(sys.executable).parent
TABLE = Path("results/table1.csv")
CELL = "results/full/all/sub-02/metrics.json"
# What an edit of `evaluate.block_seconds` reruns in a cohort of two.
AGAIN = {"score": 2, "score_reference": 2, "table": 1, "figure": 1}
WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_NOSYSTEM": "1"}
WHO |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
KEPT = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
ENVIRONMENT = KEPT | WHO | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def call(where: Path, *command: object, code: int = 0) -> str:
    """What a command says; it has to end with this exit status."""
    done = subprocess.run(
        [str(c) for c in command], cwd=where, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def told(said: str) -> dict[str, int]:
    """Jobs by rule, less those that only name a target; says nothing of jobs only if none ran."""
    found = counted(said)
    nothing = "Nothing to be done" in said or "didn't change, skipping" in said
    assert bool(found) != nothing, said
    return {name: count for name, count in found.items() if name not in ("refresh", "all")}


def planned(where: Path, *target: object) -> dict[str, int]:
    """The jobs that Snakemake would run."""
    return told(call(where, "snakemake", "-n", "--cores", 8, *target))


def reproduced(where: Path) -> dict[str, int]:
    """The jobs that `dvc repro` ran."""
    return told(call(where, "dvc", "repro"))


def is_recorded(where: Path) -> bool:
    return "up to date" in call(where, "dvc", "status")


def commit(where: Path, message: str) -> None:
    call(where, "git", "add", "--all")
    call(where, "git", "commit", "--quiet", "--message", message)


def set_block(where: Path) -> None:
    """The change of most scenarios: other blocks of the bootstrap, those of `tiny_run`."""
    text = (where / "config.yaml").read_text()
    assert text.count("block_seconds: 20.0\n") == 1
    (where / "config.yaml").write_text(
        text.replace("block_seconds: 20.0\n", f"block_seconds: {BLOCK}\n")
    )


def sources(folder: Path) -> Path:
    """A repository that holds this working tree's files, committed or not."""
    listed = call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    call(folder, "git", "init", "--quiet")
    return folder


def project(folder: Path, tiny_settings: Path, block: float) -> Path:
    """A repository of this working tree whose config.yaml is that of the tiny data set."""
    sources(folder)
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings |= yaml.safe_load(tiny_settings.read_text())
    settings["evaluate"]["block_seconds"] = block
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    commit(folder, "Sources")
    return folder


def push(folder: Path) -> None:
    """What DVC has recorded, to a remote on disk; and commit it."""
    call(folder, "dvc", "remote", "add", "--default", "store", folder.with_name("store"))
    call(folder, "dvc", "push")
    commit(folder, "Made and recorded")


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_settings):
    """A clone in which everything is made, recorded, committed and pushed."""
    folder = project(tmp_path_factory.mktemp("dvc") / "base", tiny_settings, 20.0)
    assert reproduced(folder)["table"] == 1
    push(folder)
    return folder


@pytest.fixture(scope="module")
def scratch(base, tiny_run):
    """The bytes of table 1 with the other setting, made by Snakemake from nothing at all."""
    assert sha256(tiny_run / TABLE) != sha256(base / TABLE)
    return sha256(tiny_run / TABLE)


@pytest.fixture
def clone(base, tmp_path):
    """What a colleague has after `git clone` and `dvc pull`."""
    folder = tmp_path / "clone"
    call(base, "git", "clone", "--quiet", base, folder)
    call(folder, "dvc", "pull")
    yield folder
    shutil.rmtree(tmp_path)


def test_repro_records_what_snakemake_made_and_a_clone_gets_it(tiny_run, tiny_settings, tmp_path):
    """The three ways share one state; the long tests below have each of them make it."""
    folder = project(tmp_path / "made", tiny_settings, BLOCK)
    for name in ("data", "models", "results", "logs", "benchmarks", ".snakemake/metadata"):
        shutil.copytree(tiny_run / name, folder / name, dirs_exist_ok=True)
    assert reproduced(folder) == {}
    assert is_recorded(folder)
    push(folder)
    clone = tmp_path / "clone"
    call(folder, "git", "clone", "--quiet", folder, clone)
    call(clone, "dvc", "pull")
    assert sha256(clone / TABLE) == sha256(tiny_run / TABLE)
    assert planned(clone) == {}
    text = (clone / "config.yaml").read_text()
    assert text.count(f"block_seconds: {BLOCK}\n") == 1
    (clone / "config.yaml").write_text(
        text.replace(f"block_seconds: {BLOCK}\n", "block_seconds: 20.0\n")
    )
    assert planned(clone) == AGAIN


# -- nothing has changed


@pytest.mark.long
def test_after_repro_both_have_nothing_to_do(base):
    assert is_recorded(base)
    assert planned(base) == {}
    assert reproduced(base) == {}


@pytest.mark.long
def test_a_clone_that_pulled_has_nothing_to_do(clone, base):
    assert is_recorded(clone)
    assert planned(clone) == {}
    assert reproduced(clone) == {}
    assert sha256(clone / TABLE) == sha256(base / TABLE)


@pytest.mark.long
def test_two_runs_from_nothing_give_the_same_bytes(base, tiny_run):
    """By `dvc repro` and by Snakemake, in folders of other names."""
    kinds = (".safetensors", ".csv", ".tsv", ".json", ".png")
    for part in ("data", "models"):
        made = [p.relative_to(base) for p in (base / part).rglob("*") if p.suffix in kinds]
        assert len(made) > 15
        assert not [p for p in made if sha256(tiny_run / p) != sha256(base / p)]


# -- settings


@pytest.mark.long
def test_a_changed_setting_after_a_pull_and_the_way_back(clone, base, scratch):
    set_block(clone)
    assert not is_recorded(clone)
    assert reproduced(clone) == AGAIN
    assert sha256(clone / TABLE) == scratch
    assert is_recorded(clone)
    # what changed, said by DVC
    changed = json.loads(call(clone, "dvc", "params", "diff", "--json"))
    assert changed == {
        "config.yaml": {"evaluate.block_seconds": {"old": 20.0, "new": BLOCK, "diff": -12.0}}
    }
    shown = json.loads(call(clone, "dvc", "metrics", "show", "--json"))
    assert "model" in str(shown)
    call(clone, "dvc", "metrics", "diff")
    assert "html" in call(clone, "dvc", "plots", "show")
    shutil.rmtree(clone / "dvc_plots")
    # an old commit
    commit(clone, "Shorter blocks")
    call(clone, "git", "checkout", "--quiet", "HEAD~1")
    call(clone, "dvc", "checkout")
    assert sha256(clone / TABLE) == sha256(base / TABLE)
    assert planned(clone) == {}
    assert reproduced(clone) == {}


@pytest.mark.long
def test_a_commit_that_was_never_reproduced_by_snakemake_then_repro(clone, scratch, tmp_path):
    set_block(clone)
    commit(clone, "Shorter blocks, not run")
    other = tmp_path / "other"
    call(clone, "git", "clone", "--quiet", clone, other)
    call(other, "dvc", "pull")
    assert not is_recorded(other)
    assert told(call(other, "snakemake", "--cores", 8)) == AGAIN
    assert sha256(other / TABLE) == scratch
    assert reproduced(other) == {}  # DVC records what Snakemake made, and runs no job
    assert is_recorded(other)
    assert planned(other) == {}


@pytest.mark.long
def test_an_experiment_in_a_temporary_directory(clone, base, scratch):
    said = call(
        clone, "dvc", "exp", "run", "--temp", "-S", f"config.yaml:evaluate.block_seconds={BLOCK}"
    )
    assert told(said) == AGAIN
    assert sha256(clone / TABLE) == sha256(base / TABLE)  # the workspace is as it was
    assert planned(clone) == {}
    name = call(clone, "dvc", "exp", "list", "--name-only").split()[-1]
    call(clone, "dvc", "exp", "apply", name)
    assert sha256(clone / TABLE) == scratch
    assert planned(clone) == {}


@pytest.mark.long
def test_killed_in_the_middle_and_repeated(clone, scratch):
    set_block(clone)
    run = subprocess.Popen(
        [BIN / "dvc", "repro"], cwd=clone, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    # one job has ended when the second begins
    deadline = time.monotonic() + 120
    while len(list((clone / "logs").rglob("sub-*.log"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    rest = reproduced(clone)
    assert rest.keys() <= AGAIN.keys()
    assert rest["score"] + rest.get("score_reference", 0) == 3 or sum(rest.values()) == 5
    assert sha256(clone / TABLE) == scratch
    assert planned(clone) == {}
    assert is_recorded(clone)


# -- code


@pytest.mark.long
def test_code_reruns_what_uses_it_and_a_comment_or_a_touch_nothing(clone):
    package = clone / "llm4brain" / "evaluate"
    text = {name: (package / f"{name}.py").read_text() for name in ("bootstrap", "table")}
    for name in text:
        (package / f"{name}.py").write_text(f"# A comment.\n{text[name]}")
    for script in (clone / "scripts").iterdir():
        script.touch()
    assert planned(clone) == {}
    assert reproduced(clone) == {}
    assert is_recorded(clone)
    # deep in what `score` imports
    (package / "bootstrap.py").write_text(f"{text['bootstrap']}\n\nMORE = 1\n")
    assert planned(clone) == AGAIN
    (package / "bootstrap.py").write_text(text["bootstrap"])
    # of the last rule alone: what its scratch says can be told from what stands
    assert text["table"].count('"n/a"') == 1
    (package / "table.py").write_text(text["table"].replace('"n/a"', '"none"'))
    table = (clone / TABLE).read_text()
    assert "n/a" in table
    assert reproduced(clone) == {"table": 1, "figure": 1}
    assert (clone / TABLE).read_text() == table.replace("n/a", "none")


# -- data


@pytest.mark.long
def test_one_subjects_bold_reruns_that_subject_and_what_is_trained_on_it(clone, base):
    scan = next((clone / "data/phantom/sub-02/func").glob("*_run-01_bold.nii.gz"))
    kept = scan.read_bytes()
    image = nib.load(scan)
    shaken = np.asarray(image.dataobj).copy()
    shaken[..., 20] = shaken[..., 21]
    nib.save(nib.Nifti1Image(shaken, image.affine, image.header), scan)
    os.utime(scan, (0, 0))  # as `cp -p` or `rsync -a` bring it: Snakemake does not notice
    said = call(clone, "snakemake", "-n", TABLE, code=1)
    assert "hides it from Snakemake" in said
    scan.touch()
    own = dict.fromkeys(("preprocess_minimal", "bold", "bold_features"), 1)
    trained = dict.fromkeys(("pretrain", "align", "adapt", "tune"), 1)
    said = dict.fromkeys(("reference", "score_reference", "decode", "score"), 2)
    rerun = own | trained | said | {"table": 1, "figure": 1}
    assert not is_recorded(clone)
    assert planned(clone) == rerun
    features = Path("data/features/sub-02.safetensors")
    assert told(call(clone, "snakemake", "--cores", 8, features)) == own
    assert sha256(clone / features) != sha256(base / features)
    # and the way back, from that half of the chain: all of it, to the bytes of the base
    scan.write_bytes(kept)
    assert reproduced(clone) == rerun
    assert sha256(clone / TABLE) == sha256(base / TABLE)


@pytest.mark.long
def test_part_of_the_state_serves_without_raw_data(base, tmp_path):
    folder = tmp_path / "part"
    call(base, "git", "clone", "--quiet", base, folder)
    call(folder, "dvc", "pull", "results/full/all/sub-02")
    files = [p.relative_to(folder) for p in (folder / "results").rglob("*") if p.is_file()]
    assert Path(CELL) in files
    assert all(sha256(folder / p) == sha256(base / p) for p in files)
    assert not (folder / "data").exists()
    # decoding and scoring it again, from checkpoints, features and captions
    shutil.rmtree(folder / "results")
    parts = ("models", "data/features", "data/bold", "data/captions", "data/clips.tsv")
    call(folder, "dvc", "pull", ".snakemake/metadata", *parts)
    assert told(call(folder, "snakemake", "--cores", 8, CELL)) == {"decode": 1, "score": 1}
    assert all(sha256(folder / p) == sha256(base / p) for p in files)
    assert not (folder / "data" / "phantom").exists()
