"""What fMRIPrep runs in: Docker, by fMRIPrep's own wrapper, or Apptainer, as clusters have it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm4brain.errors import UserError
from llm4brain.sections import PreprocessSettings

WRAPPER = "fmriprep-docker"
LICENSE = "/opt/freesurfer/license.txt"  # where fMRIPrep's image looks for it


@dataclass(frozen=True)
class Places:
    """Where a subject's data lie: on the machine, or as the container sees them."""

    bids: str
    out: str
    work: str
    license: str


def image(settings: PreprocessSettings) -> str:
    """The container image: the setting, else the wrapper's own version of fMRIPrep."""
    if settings.image:
        return settings.image
    name = f"nipreps/fmriprep:{importlib.metadata.version(WRAPPER)}"
    return name if settings.engine == "docker" else f"docker://{name}"


def license_file(settings: PreprocessSettings) -> Path:
    """FreeSurfer's licence: `preprocess.fs_license`, else the variable FS_LICENSE.

    Raises:
        UserError: none is named, or the file is not there.
    """
    todo = "get one from FreeSurfer (free of charge) and name it in preprocess.fs_license"
    named = settings.fs_license or os.environ.get("FS_LICENSE")
    if not named:
        raise UserError("FreeSurfer licence", "is missing", todo)
    if not Path(named).is_file():
        raise UserError(named, "does not exist", todo)
    return Path(named).resolve()


def check(settings: PreprocessSettings) -> None:
    """See that the engine and its image are there, before anything starts.

    Raises:
        UserError: no engine on the PATH, no daemon of Docker, or no such image.
    """
    if settings.engine == "docker":
        _check_docker(image(settings))
    else:
        _apptainer()
        _check_sif(image(settings))


def command(
    places: Places, settings: PreprocessSettings, arguments: Callable[[Places], list[str]]
) -> list[str]:
    """The command line that runs fMRIPrep in its container, an argument an element.

    Args:
        places: on this machine.
        arguments: fMRIPrep's own command line, given where its data lie.
    """
    if settings.engine == "docker":
        # The wrapper mounts what it is told; `--no-tty`, for else it asks for a person's terminal.
        line = [_wrapper(), *arguments(places), "--no-tty", "-u", f"{os.getuid()}:{os.getgid()}"]
        return [*line, "-i", settings.image] if settings.image else line
    binds = [
        f"{places.bids}:/data:ro",
        f"{places.out}:/out",
        f"{places.work}:/work",
        f"{places.license}:{LICENSE}:ro",
    ]
    environment = []
    # Its home in the image, where the templates lie, is not that of whoever calls Apptainer.
    if templates := os.environ.get("TEMPLATEFLOW_HOME"):
        binds.append(f"{Path(templates).resolve()}:/templateflow")
        environment = ["--env", "TEMPLATEFLOW_HOME=/templateflow"]
    for bind in binds:
        if "," in bind or bind.count(":") > 1 + bind.endswith(":ro"):
            raise UserError(
                bind.split(":/")[0], "holds a comma or a colon", "Apptainer binds no such path"
            )
    mounted = [word for bind in binds for word in ("--bind", bind)]
    inside = Places("/data", "/out", "/work", LICENSE)
    head = [_apptainer(), "run", "--cleanenv", *environment, *mounted]
    return [*head, image(settings), *arguments(inside)]


@contextmanager
def running(work: str, settings: PreprocessSettings) -> Iterator[None]:
    """No container of Docker that mounts the work folder outlives the block, nor runs before it.

    Docker's daemon keeps a container when the client that started it is killed. Apptainer's are
    processes of the job itself.

    Args:
        work: folder of intermediate files, which no two subjects share.
    """
    if settings.engine != "docker":
        yield
        return
    _stop(work)  # what a job left that could not end its container
    try:
        yield
    finally:
        _stop(work)


def _stop(work: str) -> None:
    if left := _ask("ps", "--quiet", "--filter", f"volume={work}").stdout.split():
        _ask("kill", *left)


def _wrapper() -> str:
    # beside the interpreter first: a job's PATH need not hold the environment
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wrapper = shutil.which(WRAPPER, path=beside)
    if wrapper is None:
        raise UserError(WRAPPER, "is not installed", "install the environment again (make install)")
    return wrapper


def _check_docker(name: str) -> None:
    """Ask Docker what the wrapper would ask a person, before it starts."""
    if shutil.which("docker") is None:
        raise UserError(
            "docker",
            "is not on the PATH, and fMRIPrep runs in it",
            "install Docker, or set preprocess.engine: apptainer, or preprocess.backend: minimal",
        )
    # Its client succeeds without a daemon; only the server's version proves one.
    answer = _ask("version", "--format", "{{.Server.Version}}")
    if answer.returncode != 0:
        raise UserError(
            "docker",
            f"does not answer ({_last(answer.stderr)})",
            "start the Docker daemon and see that you may use it (docker info)",
        )
    answer = _ask("images", "-q", name)
    if answer.returncode != 0 or not answer.stdout.strip():
        raise UserError(
            name,
            "is not an image of this machine's Docker",
            f"fetch it once with: docker pull {name}",
        )


def _ask(*question: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *question], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def _apptainer() -> str:
    found = shutil.which("apptainer") or shutil.which("singularity")  # its former name
    if found is None:
        raise UserError(
            "apptainer",
            "is not on the PATH, and preprocess.engine names it",
            "install it, or load its module (module load apptainer)",
        )
    return found


def _check_sif(name: str) -> None:
    """A file that is named must be there; what a registry holds shows when Apptainer fetches it."""
    if "://" not in name and not Path(name).exists():
        fetch = f"apptainer build {name} docker://nipreps/fmriprep:VERSION"
        raise UserError(name, "does not exist", f"build it once with: {fetch}")
