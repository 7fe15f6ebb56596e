"""The fMRIPrep backend: the real `fmriprep-docker`, one job a subject."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llm4brain.errors import UserError
from llm4brain.preprocess import find
from llm4brain.preprocess.names import Recording, output_spaces
from llm4brain.sections import PreprocessSettings

WRAPPER = "fmriprep-docker"


def image(settings: PreprocessSettings) -> str:
    """The container image: the setting, else the wrapper's own version of fMRIPrep."""
    return settings.image or f"nipreps/fmriprep:{importlib.metadata.version(WRAPPER)}"


def command(
    bids_dir: Path,
    out: Path,
    work: Path,
    subject: str,
    settings: PreprocessSettings,
    *,
    threads: int,
    mem_mb: int,
) -> list[str]:
    """The command line of the wrapper, an argument an element.

    Positionals come first, or `--output-spaces` would swallow them. `--mem_mb` is written out
    and `--no-tty` given because the wrapper else asks a person, who is not there under a
    workflow.
    """
    # beside the interpreter first: a job's PATH need not hold the environment
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wrapper = shutil.which(WRAPPER, path=beside)
    if wrapper is None:
        raise UserError(WRAPPER, "is not installed", "install the environment again (make install)")
    return [
        wrapper,
        str(bids_dir.resolve()),
        str(out.resolve()),
        "participant",
        *("--participant-label", subject),
        *("--fs-license-file", str(license_file(settings))),
        *("--output-spaces", *settings.output_spaces.split()),
        *(("--cifti-output", "91k") if settings.cifti else ()),
        *("--nthreads", str(threads)),
        *("--omp-nthreads", str(min(settings.omp_threads, threads))),
        *("--mem_mb", str(mem_mb)),
        *("-w", str(work.resolve())),
        "--skip-bids-validation",
        "--notrack",
        "--no-tty",
        *("-u", f"{os.getuid()}:{os.getgid()}"),
        *(("-i", settings.image) if settings.image else ()),
    ]


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


def check_docker(name: str) -> None:
    """Ask Docker what the wrapper would ask a person, before it starts.

    Args:
        name: of the image.

    Raises:
        UserError: no Docker, no daemon, or no such image.
    """
    if shutil.which("docker") is None:
        raise UserError(
            "docker",
            "is not on the PATH, and fMRIPrep runs in it",
            "install Docker, or set preprocess: backend: minimal",
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
            name, "is no image of this machine's Docker", f"fetch it once with: docker pull {name}"
        )


def _ask(*question: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *question], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def expected(recordings: Sequence[Recording], settings: PreprocessSettings) -> list[str]:
    """The files, relative to the output folder, that must stand when fMRIPrep has run."""
    names = []
    for run in recordings:
        names += [run.confounds(), run.confounds_json()]
        for space, resolution in output_spaces(settings.output_spaces):
            names += [
                run.bold(space, resolution),
                run.bold_json(space, resolution),
                run.mask(space, resolution),
            ]
        names += [run.cifti()] if settings.cifti else []
    return names


def preprocess_subject(
    bids_dir: Path,
    out: Path,
    work: Path,
    subject: str,
    settings: PreprocessSettings,
    *,
    threads: int,
    mem_mb: int,
) -> list[Path]:
    """Run fMRIPrep on one subject.

    Args:
        work: folder for this subject's intermediate files, which a rerun takes up again; not
            inside `bids_dir`.

    Returns:
        the derivatives that were expected and stand.

    Raises:
        UserError: no Docker, daemon, image or licence; a work folder within the data set;
            fMRIPrep failed; or a derivative is missing after it.
    """
    if work.resolve().is_relative_to(bids_dir.resolve()):
        raise UserError(work, "lies inside the BIDS data set", "put it elsewhere")
    license_file(settings)
    check_docker(image(settings))
    found = find.raw_runs(find.layout(bids_dir, subject), subject, echoes=True)
    runs = dict.fromkeys(run.recording.without("echo") for run in found)
    work.mkdir(parents=True, exist_ok=True)
    line = command(bids_dir, out, work, subject, settings, threads=threads, mem_mb=mem_mb)
    # No standard input: a question to a person becomes an error instead of a wait.
    done = subprocess.run(line, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise UserError(
            f"sub-{subject}",
            f"fMRIPrep ended with status {done.returncode}",
            f"read the log above and {out / f'sub-{subject}' / 'log'}; a rerun resumes from {work}",
        )
    wanted = [out / name for name in expected(list(runs), settings)]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise UserError(
            missing[0],
            f"was not written by fMRIPrep, nor {len(missing) - 1} other expected files",
            "read the log above",
        )
    return wanted
