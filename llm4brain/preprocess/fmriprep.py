"""The fMRIPrep backend: the real fMRIPrep in a container, one job a subject."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from llm4brain.errors import UserError
from llm4brain.io import write_json
from llm4brain.memory import KILLED, REMEDY
from llm4brain.preprocess import containers, find
from llm4brain.preprocess.containers import Places
from llm4brain.preprocess.names import Recording, output_spaces
from llm4brain.preprocess.timing import repetition_time, slice_times
from llm4brain.sections import PreprocessSettings

CHOSEN = "tasks.json"  # in the work folder: which runs, as fMRIPrep asks pybids for them


def arguments(
    places: Places,
    subject: str,
    settings: PreprocessSettings,
    tasks: Sequence[str] = (),
    *,
    threads: int,
    mem_mb: int,
) -> list[str]:
    """fMRIPrep's own command line, an argument an element.

    Positionals come first, or `--output-spaces` would swallow them. `--mem_mb` is written so and
    no other way, because Docker's wrapper looks for the word and else asks a person, who is not
    there under a workflow.
    """
    return [
        *(places.bids, places.out, "participant"),
        *("--participant-label", subject),
        *("--fs-license-file", places.license),
        *("--output-spaces", *settings.output_spaces.split()),
        *(("--cifti-output", "91k") if settings.cifti else ()),
        *(("--bids-filter-file", f"{places.work}/{CHOSEN}") if tasks else ()),
        *settings.extra,
        *("--nthreads", str(threads)),
        *("--omp-nthreads", str(min(settings.omp_threads, threads))),
        *("--mem_mb", str(mem_mb)),
        *("-w", places.work),
        "--skip-bids-validation",
        "--notrack",
    ]


def command(
    bids_dir: Path,
    out: Path,
    work: Path,
    subject: str,
    settings: PreprocessSettings,
    tasks: Sequence[str] = (),
    *,
    threads: int,
    mem_mb: int,
) -> list[str]:
    """The command line that is run.

    Raises:
        UserError: no licence, no container engine, or a path that it cannot mount.
    """
    folders = (str(folder.resolve()) for folder in (bids_dir, out, work))
    places = Places(*folders, str(containers.license_file(settings)))

    def told(places: Places) -> list[str]:
        return arguments(places, subject, settings, tasks, threads=threads, mem_mb=mem_mb)

    return containers.command(places, settings, told)


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
    tasks: Sequence[str] = (),
    *,
    threads: int,
    mem_mb: int,
) -> list[Path]:
    """Run fMRIPrep on one subject.

    Args:
        tasks: names or patterns; none: every task.
        work: folder for this subject's intermediate files, which a rerun takes up again; not
            inside `bids_dir`.

    Returns:
        the derivatives that were expected and stand.

    Raises:
        UserError: no container engine, daemon, image or licence; a work folder within the data
            set; times in a sidecar that are not in seconds; fMRIPrep failed; or a derivative is
            missing after it.
    """
    if work.resolve().is_relative_to(bids_dir.resolve()):
        raise UserError(work, "lies inside the BIDS data set", "put it elsewhere")
    line = command(bids_dir, out, work, subject, settings, tasks, threads=threads, mem_mb=mem_mb)
    containers.check(settings)
    found = find.raw_runs(find.layout(bids_dir, subject), subject, tasks, echoes=True)
    for run in found:  # fMRIPrep would take milliseconds for seconds, after hours
        slice_times(run.path, run.metadata, repetition_time(run.path, run.metadata, None))
    runs = dict.fromkeys(run.recording.without("echo") for run in found)
    for folder in (out, work):  # Apptainer binds only what is there
        folder.mkdir(parents=True, exist_ok=True)
    if tasks:
        names = sorted({str(run["task"]) for run in runs})
        of_bold = {"datatype": "func", "suffix": "bold", "task": names}
        write_json(work / CHOSEN, {"bold": of_bold})
    # No standard input: a question to a person becomes an error instead of a wait.
    # what is inherited says that this job is alive (llm4brain.locks)
    with containers.running(str(work.resolve()), settings):
        done = subprocess.run(line, stdin=subprocess.DEVNULL, check=False, close_fds=False)
    if done.returncode != 0:
        wrong = f"fMRIPrep ended with status {done.returncode}"
        todo = f"read the log above and {out / f'sub-{subject}' / 'log'}"
        if done.returncode in (KILLED, -signal.SIGKILL):
            wrong, todo = (
                "fMRIPrep was killed, probably for want of memory",
                REMEDY["preprocess_fmriprep"],
            )
        raise UserError(f"sub-{subject}", wrong, f"{todo}; a rerun resumes from {work}")
    wanted = [out / name for name in expected(list(runs), settings)]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise UserError(
            missing[0],
            f"was not written by fMRIPrep, nor {len(missing) - 1} other expected files",
            "read the log above",
        )
    return wanted
