"""Submit Snakemake jobs to Kubernetes and report their status, with kubectl.

profile.yaml calls `pod.py submit JOBSCRIPT`, which creates a Job from job.yaml and prints its name,
and `pod.py status NAME`, which prints `running`, `success` or `failed`.
"""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import yaml

TEMPLATE = Path(__file__).with_name("job.yaml")


def manifest(script: Path) -> dict:
    """The Job for a job script, whose second line holds the resources that the rule requests."""
    asked = json.loads(re.search(r"^# properties = (.*)$", script.read_text(), re.MULTILINE)[1])
    resources = asked["resources"]
    job = yaml.safe_load(TEMPLATE.read_text())
    rule = re.sub("[^a-z0-9]+", "-", asked["rule"].lower()).strip("-")[:40]
    job["metadata"]["name"] = f"llm4brain-{rule}-{uuid.uuid4().hex[:8]}"
    job["spec"]["activeDeadlineSeconds"] = 60 * resources["runtime"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["sh", str(script.resolve())]
    container["workingDir"] = str(Path.cwd())
    limits = {"cpu": str(asked["threads"]), "memory": f"{resources['mem_mb']}M"}
    if resources.get("gpu"):
        limits["nvidia.com/gpu"] = str(resources["gpu"])
    container["resources"] = {"limits": limits}
    return job


def kubectl(*words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    namespace = yaml.safe_load(TEMPLATE.read_text())["metadata"]["namespace"]
    command = ["kubectl", "--namespace", namespace, *words]
    return subprocess.run(command, input=said, capture_output=True, text=True)


def submit(script: str) -> str:
    job = manifest(Path(script))
    done = kubectl("create", "--filename", "-", said=json.dumps(job))
    if done.returncode != 0:
        sys.exit(f"error: kubectl: {done.stderr.strip()}; see that you may create Jobs there")
    return job["metadata"]["name"]


def status(name: str) -> str:
    done = kubectl("get", "job", name, "--output", "json")
    if done.returncode != 0:  # the server may be unreachable for a moment; the job is not lost
        return "failed" if "NotFound" in done.stderr else "running"
    found = json.loads(done.stdout).get("status", {})
    if found.get("succeeded"):
        return "success"
    return "failed" if found.get("failed") else "running"


if __name__ == "__main__":
    print({"submit": submit, "status": status}[sys.argv[1]](sys.argv[2]))
