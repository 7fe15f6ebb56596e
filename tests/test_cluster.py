"""What jobs ask of a cluster, by stand-ins for Slurm's commands and for kubectl."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SNAKEMAKE
from test_workflow import bids_data_set

# `sbatch` is asked for each job; the others answer what the plugin wants to know before.
STAND_INS = {
    "sbatch": '#!{python}\nimport shlex, sys\nopen("{calls}", "a").write('
    'shlex.join(sys.argv[1:]) + "\\n")\nsys.exit("no room")\n',
    "sinfo": "#!/bin/sh\necho 'all*'\n",
    "squeue": "#!/bin/sh\n",
    "sacct": "#!/bin/sh\n",
    "scontrol": "#!/bin/sh\necho 'MinJobAge = 300 sec'\n",
}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs the workflow through the profile: comment of a job -> options of sbatch, by attempt."""
    bin, calls = tmp_path / "bin", tmp_path / "calls"
    bin.mkdir()
    for name, text in STAND_INS.items():
        (bin / name).write_text(text.format(python=sys.executable, calls=calls))
        (bin / name).chmod(0o755)
    splits = {"train": ["a.mp4", "b.mp4"], "validation": ["c.mp4"], "test": ["d.mp4"]}
    settings = {
        "dataset": "bids",
        "bids_dir": str(bids_data_set(tmp_path / "raw", splits)),
        "subjects": ["01", "02"],
        "splits": splits,
        "preprocess": {"backend": "fmriprep", "engine": "apptainer"},
        "video_llm": {"source": "hub:some/model@main"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("PATH", f"{bin}{os.pathsep}{os.environ['PATH']}")

    def run(*arguments):
        calls.write_text("")
        command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", tmp_path / "run"]
        command += [
            "--workflow-profile",
            ROOT / "profiles" / "slurm",
            "--keep-going",
            "--slurm-no-account",
        ]
        command += ["data/clips.tsv", "data/bold/sub-01.safetensors"]
        command += ["--configfile", tmp_path / "study.yaml", *arguments]
        done = subprocess.run(
            list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert "no room" in done.stdout + done.stderr
        found = {}
        for line in calls.read_text().splitlines():
            words = shlex.split(line)
            found.setdefault(after(words, "--comment"), []).append(words)
        return found

    return run


def after(words, option):
    return words[words.index(option) + 1]


def test_a_job_asks_for_its_own_cores_memory_and_time_whatever_the_login_node_has(asked):
    found = asked()
    assert sorted(found) == ["rule_clips", "rule_preprocess_fmriprep_wildcards_01"]
    # what takes hours is not tried again: its memory is a setting, and its errors are of the data
    (light, again), (heavy,) = (found[rule] for rule in sorted(found))
    assert "--cpus-per-task=1" in light
    assert "--cpus-per-task=8" in heavy
    assert (after(light, "--mem"), after(heavy, "--mem")) == ("500", "32000")
    assert after(again, "--mem") == "1000"
    assert (after(light, "-t"), after(heavy, "-t")) == ("10", "1440")
    assert not [word for word in light + heavy if word.startswith("--gpus")]
    # the scripts are told as many threads as there are cores
    inner = heavy[-1]
    assert "--cores all" in inner.replace("'", "")
    assert "--max-threads 8" in inner


def test_nodes_of_fewer_cores_are_asked_for_no_more(asked):
    found = asked("--max-threads", 4)
    assert "--cpus-per-task=1" in found["rule_clips"][0]
    assert "--cpus-per-task=4" in found["rule_preprocess_fmriprep_wildcards_01"][0]


def test_profiles_change_nothing_that_decides_what_is_made_again():
    default = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())
    for path in sorted(Path(ROOT, "profiles").glob("*/profile.yaml")):
        own = yaml.safe_load(path.read_text())
        for key in ("rerun-triggers", "max-checksum-file-size"):
            assert own.get(key, default[key]) == default[key], path


# -- Kubernetes, by a stand-in `kubectl` that runs the pod's command here

KUBECTL = """#!{python}
import json, pathlib, subprocess, sys
words, here = sys.argv[1:], pathlib.Path("{here}")
assert words[:2] == ["--namespace", "default"]
if words[2] == "create":
    job = json.load(sys.stdin)
    name, spec = job["metadata"]["name"], job["spec"]["template"]["spec"]
    (here / (name + ".json")).write_text(json.dumps(job))
    box = spec["containers"][0]
    done = subprocess.run(box["command"], cwd=box["workingDir"], capture_output=True)
    (here / (name + ".rc")).write_text(str(done.returncode))
elif words[2:4] == ["get", "job"]:
    rc = int((here / (words[4] + ".rc")).read_text())
    print(json.dumps({{"status": {{"failed" if rc else "succeeded": 1}}}}))
"""


def test_a_job_is_a_job_of_kubernetes(tmp_path, monkeypatch):
    here, bin = tmp_path / "cluster", tmp_path / "bin"
    for folder in (here, bin):
        folder.mkdir()
    (bin / "kubectl").write_text(KUBECTL.format(python=sys.executable, here=here))
    (bin / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}{os.pathsep}{os.environ['PATH']}")
    run = tmp_path / "run"
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", run]
    command += [
        "--workflow-profile",
        ROOT / "profiles" / "kubernetes",
        "--seconds-between-status-checks",
        1,
    ]
    command += ["data/phantom/participants.tsv", "--configfile", ROOT / "configs" / "tiny.yaml"]
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run / "data/phantom/participants.tsv").is_file()
    (made,) = here.glob("*.json")
    job = json.loads(made.read_text())
    assert job["metadata"]["name"].startswith("llm4brain-phantom-participants-")
    assert job["spec"]["activeDeadlineSeconds"] == 600
    (box,) = job["spec"]["template"]["spec"]["containers"]
    assert box["resources"]["limits"] == {"cpu": "1", "memory": "500M"}
    assert box["workingDir"] == str(run)


def test_a_pod_gets_a_gpu_where_the_rule_asks_for_one_and_a_lost_one_has_failed(
    tmp_path, monkeypatch
):
    spec = importlib.util.spec_from_file_location("pod", ROOT / "profiles/kubernetes/pod.py")
    pod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pod)
    asked = {"rule": "tune", "threads": 8}
    asked["resources"] = {"mem_mb": 4000, "runtime": 240, "gpu": 1}
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\n# properties = {json.dumps(asked)}\ntrue\n")
    job = pod.manifest(tmp_path / "job.sh")
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "4000M", "nvidia.com/gpu": "1"}
    said = {"error": "connection refused"}

    def answer(*words, **_):
        return subprocess.CompletedProcess(words, 1, "", said["error"])

    monkeypatch.setattr(pod, "kubectl", answer)
    assert pod.status("x") == "running"
    said["error"] = 'Error from server (NotFound): jobs.batch "x" not found'
    assert pod.status("x") == "failed"
