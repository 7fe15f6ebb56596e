"""Jobs of the workflow on a real Slurm of one node, through `--workflow-profile profiles/slurm`.

Opt-in, for it wants root and Debian's slurm-wlm and munge: LLM4BRAIN_SLURM=1 (`.ci/run` sets it).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, SNAKEMAKE

if not os.environ.get("LLM4BRAIN_SLURM"):
    pytest.skip("LLM4BRAIN_SLURM is not set", allow_module_level=True)

SLURM = ROOT / "tests" / "slurm" / "slurm.sh"
MODELS = [f"models/full/sub-{s}/pretrain.safetensors" for s in ("01", "02")]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a user of this Slurm; its daemons end with the tests."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SLURM, "start", folder], check=True, timeout=60)
    environment = dict(os.environ, SLURM_CONF=str(folder / "slurm.conf"))
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        yield environment
    finally:
        subprocess.run([SLURM, "stop", folder], check=True, timeout=60)


def test_one_job_a_gpu(slurm):
    """Two jobs at once on a node of two GPUs see one each."""
    seen = "for _ in $(seq 20); do sleep 0.2; done; echo $CUDA_VISIBLE_DEVICES"
    call = ["srun", "--gpus=1", "--cpus-per-task=1", "--mem=100", "sh", "-c", seen]
    both = [subprocess.Popen(call, env=slurm, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {job.communicate(timeout=60)[0].strip() for job in both} == {"0", "1"}


@pytest.mark.long
def test_rules_run_as_jobs_of_slurm_with_what_they_ask_for(
    slurm, tiny_run, tiny_settings, tmp_path
):
    """BOLD windows and masked pretraining of each subject, from the tiny cohort's BOLD."""
    run = tmp_path / "run"
    for part in ("data", ".snakemake/metadata"):
        shutil.copytree(tiny_run / part, run / part)  # with its dates: nothing else is made again
    shutil.rmtree(run / "data" / "features")
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", run]
    command += [
        "--workflow-profile",
        ROOT / "profiles" / "slurm",
        *MODELS,
        "--configfile",
        tiny_settings,
    ]
    # this Slurm keeps no accounts; its node of four cores has no room for the profile's eight
    command += ["--slurm-no-account", "--slurm-status-command", "squeue"]
    command += ["--slurm-init-seconds-before-status-checks", 2, "--max-threads", 2]
    done = subprocess.run(
        list(map(str, command)),
        env=slurm,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert all((run / model).is_file() for model in MODELS)
    asked = {}
    listed = subprocess.run(
        ["scontrol", "show", "jobs", "--oneliner"], env=slurm, capture_output=True, text=True
    )
    for line in listed.stdout.splitlines():
        job = dict(re.findall(r"(\w+)=(\S*)", line))
        if "Comment" in job:  # what Snakemake submits says of which rule it is
            asked[job["Comment"]] = job
    rules = [f"rule_bold_features_wildcards_{s}" for s in ("01", "02")]
    rules += [f"rule_pretrain_wildcards_full_sub-{s}" for s in ("01", "02")]
    assert sorted(asked) == sorted(rules)
    for comment, job in asked.items():
        trained = "pretrain" in comment
        assert job["JobState"] == "COMPLETED"
        assert job["NumCPUs"] == ("2" if trained else "1")
        # SC-MBM, which is tiny, takes the one more
        assert job["MinMemoryNode"] == ("4001M" if trained else "1500M")
        assert job["TimeLimit"] == ("04:00:00" if trained else "00:30:00")
        assert job.get("TresPerJob") == ("gres:gpu:1" if trained else None)
    assert not list((run / ".snakemake" / "slurm_logs").rglob("*.log"))  # kept of failures alone
    assert Path(run / "benchmarks/jobs/pretrain/full/sub-01.tsv").is_file()
