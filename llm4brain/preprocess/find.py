"""Which files of a BIDS data set belong to a subject's runs: asked of pybids, indexed once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids import BIDSLayout, BIDSLayoutIndexer

from llm4brain.errors import UserError
from llm4brain.io import missing, read_json
from llm4brain.preprocess.names import Recording


@dataclass(frozen=True)
class Found:
    """A run's BOLD file and what its JSON sidecars, inherited ones included, say of it."""

    recording: Recording
    path: Path
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Derived:
    """A preprocessed run: BOLD, brain mask (CIFTI has none) and confounds, of one space."""

    recording: Recording
    bold: Path
    mask: Path | None
    confounds: Path
    metadata: dict[str, Any]


def layout(folder: Path, subject: str, *, derivative: bool = False) -> BIDSLayout:
    """Index one subject's part of a data set (0.2 s for 28 runs, 2 s for 200).

    Other subjects are not looked at: their jobs may be writing there at this moment. Nothing is
    kept in a database of pybids, which would go on naming files that are gone
    (docs/your-data.md has the figures).

    Raises:
        UserError: the folder, its description or the subject is missing; a JSON file that cannot
            be read.
    """
    if not (folder / "dataset_description.json").is_file():
        raise UserError(
            folder,
            "is not a BIDS data set (no dataset_description.json)",
            "run the step that makes it" if derivative else "correct bids_dir",
        )
    if not (folder / f"sub-{subject}").is_dir():
        raise UserError(
            folder,
            f"has no sub-{subject}",
            "run preprocessing for it" if derivative else "correct subjects in config.yaml",
        )
    for file in (*folder.glob("*.json"), *(folder / f"sub-{subject}").rglob("*.json")):
        # pybids would read them, and end in a traceback at one that it cannot
        if not file.name.startswith("."):
            sidecar(file)
    others = re.compile(rf"^/sub-(?!{subject}(/|$))")
    ignore = [others, re.compile(r"^/(stimuli|derivatives|sourcedata|code|logs|work)(/|$)")]
    indexer = BIDSLayoutIndexer(validate=False, ignore=[*ignore, re.compile(r"/\.")])
    return BIDSLayout(
        folder,
        validate=False,
        is_derivative=derivative,
        config=["bids", "derivatives"],
        indexer=indexer,
    )


def sidecar(path: Path) -> dict[str, Any]:
    """What a JSON sidecar says.

    Raises:
        UserError: it is missing, no JSON, or no object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(path, "is not a sidecar (no JSON object)", "write it again")
    return found


def raw_runs(
    bids: BIDSLayout, subject: str, tasks: Sequence[str] = (), *, echoes: bool = False
) -> list[Found]:
    """The subject's raw BOLD runs, sorted by name.

    Args:
        tasks: names or patterns; none: every task.
        echoes: whether the echoes of a multi-echo run may stand as runs of their own.

    Raises:
        UserError: there is none, or they are multi-echo.
    """
    files = bids.get(subject=subject, suffix="bold", extension=[".nii.gz", ".nii"])
    runs = [
        Found(recording, Path(file.path), file.get_metadata())
        for file in files
        if (recording := Recording.parse(file.path)).of(tasks)
    ]
    if not runs:
        of = f" of task {' or '.join(tasks)}" if tasks else ""
        raise UserError(
            Path(bids.root) / f"sub-{subject}", f"holds no *_bold.nii.gz{of}", "add its BOLD runs"
        )
    for run in runs:
        if run.recording["echo"] and not echoes:
            raise UserError(run.path, "is one echo of several", "use preprocess: backend: fmriprep")
    return sorted(runs, key=lambda run: run.recording.stem)


def run_stems(bids: BIDSLayout, subject: str, tasks: Sequence[str] = ()) -> set[str]:
    """The subject's runs by name: by its raw BOLD, or its own events where there is no raw BOLD.

    Of data that are published preprocessed alone (Wen 2018), the raw part holds events and stimuli.

    Args:
        tasks: names or patterns; none: every task.
    """
    scans = bids.get(subject=subject, suffix="bold", extension=[".nii.gz", ".nii"])
    events = bids.get(subject=subject, suffix="events", extension=".tsv")
    if events and not scans:
        runs = [Recording.parse(file.path) for file in events]
        return {run.stem for run in runs if run.of(tasks)}
    found = [run.recording.without("echo") for run in raw_runs(bids, subject, tasks, echoes=True)]
    # derivatives may say which part of a complex image they are of, or not
    return {run.stem for own in found for run in (own, own.without("part"))}


def derived_runs(
    derivatives: BIDSLayout, subject: str, space: str, tasks: Sequence[str] = ()
) -> list[Derived]:
    """The subject's preprocessed runs in `space`, sorted by name.

    Args:
        tasks: names or patterns; none: every task.

    Raises:
        UserError: there is none, a run has several resolutions, or a mask or confounds file
            is missing.
    """
    files = derivatives.get(
        subject=subject,
        suffix="bold",
        extension=".nii.gz",
        desc="preproc",
        space=space.split("_")[0],  # a cohort follows
    )
    root, preproc = Path(derivatives.root), "_desc-preproc_bold.nii.gz"
    paths = [Path(file.path) for file in files if f"_space-{space}_" in Path(file.path).name]
    found = [(p, p.with_name(p.name.replace(preproc, "_desc-brain_mask.nii.gz"))) for p in paths]
    return one_a_run(
        derivatives,
        found,
        tasks,
        missing=(root / f"sub-{subject}", f"preprocessed BOLD in space {space}", "preprocessing"),
        extent="resolution",
    )


def one_a_run(
    derivatives: BIDSLayout,
    files: Iterable[tuple[Path, Path | None]],
    tasks: Sequence[str],
    *,
    missing: tuple[Path, str, str],
    extent: str,
) -> list[Derived]:
    """Preprocessed BOLD and its mask, if it has one, as runs with confounds, sorted by name.

    Args:
        tasks: names or patterns; none: every task.
        missing: if there is none: where it was looked for, for what, and what makes it.
        extent: what a run may have in one form alone, a resolution or a density.
    """
    where, what, makes = missing
    runs: dict[str, Derived] = {}
    for path, mask in files:
        run = Recording.parse(path)
        if not run.of(tasks):
            continue
        confounds = Path(derivatives.root) / run.confounds()
        for needed in filter(None, (mask, confounds)):
            require_file(needed, "run preprocessing of this subject again")
        if run.stem in runs:
            wrong, todo = f"is not the only {extent} of {run.stem}", f"keep one {extent}"
            raise UserError(path, wrong, f"{todo} of bold.space")
        runs[run.stem] = Derived(run, path, mask, confounds, derivatives.get_metadata(str(path)))
    if not runs:
        of = f" of task {' or '.join(tasks)}" if tasks else ""
        raise UserError(
            where, f"holds no {what}{of}", f"run {makes}, or correct bold.space or tasks"
        )
    return [runs[stem] for stem in sorted(runs)]


def require_file(path: Path, todo: str) -> None:
    """Refuse a derivative that is not there; of confounds, say where they have their old name.

    Raises:
        UserError: what is there in its place, and what to do.
    """
    if path.is_file():
        return
    if path.is_symlink():
        raise missing(path, todo)
    old = path.with_name(path.name.replace("confounds_timeseries", "confounds_regressors"))
    if old.is_file():
        wrong = f"is missing; there is {old.name}, fMRIPrep's name for it before 20.2"
        raise UserError(path, wrong, f"make a link of that name (ln -s {old.name})")
    raise UserError(path, "is missing", todo)


@dataclass(frozen=True)
class EventFiles:
    """All events of a data set's part, asked for once: a data set has hundreds of runs."""

    root: Path
    files: list[tuple[Path, frozenset[tuple[str, str]]]]

    @classmethod
    def of(cls, bids: BIDSLayout) -> EventFiles:
        paths = [Path(file.path) for file in bids.get(suffix="events", extension=".tsv")]
        parts = [[p.split("-", 1) for p in path.name.split("_")[:-1] if "-" in p] for path in paths]
        entities = [frozenset((key, value) for key, value in own) for own in parts]
        return cls(Path(bids.root), list(zip(paths, entities, strict=True)))

    def nearest(self, run: Recording) -> Path | None:
        """The events that hold for a run: the nearest file whose entities are all the run's own.

        One at the root of the data set holds for every run that has none nearer (BIDS'
        inheritance principle); None where there is none at all, as for a resting run.
        """
        own, above = set(run.entities), set((self.root / run.folder / "x").parents)
        fitting = [
            (len(path.parts), len(entities), path)
            for path, entities in self.files
            if path.parent in above and entities <= own
        ]
        return max(fitting)[2] if fitting else None
