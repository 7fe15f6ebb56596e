"""What the settings name must be there before the first job starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from llm4brain import hub
from llm4brain.clips import clip_table, films_meant
from llm4brain.config import Config
from llm4brain.copies import twice
from llm4brain.errors import UserError, some, warn
from llm4brain.io import missing
from llm4brain.phantom.plan import cohort_films, film_name, video_films
from llm4brain.preprocess.names import Recording
from llm4brain.sections import LABEL, SPLITS
from llm4brain.splits import resolve
from llm4brain.video.frames import stimulus_durations
from llm4brain.video.reference_captions import file_captions
from llm4brain.wen2018 import disk, facts

OTHERS = "name another cohort in pretraining.derivatives"


def require(settings: Config, *, raw: bool = True, contents: bool = True) -> None:
    """Films of the splits, the data set and derivatives that exist already.

    Args:
        settings: all of them.
        raw: whether a data set of one's own has to be there.
        contents: whether to look for copies and broken links too, which takes a look at each file;
            a workflow does once, and not in each job.

    Raises:
        UserError: one line that names everything of a kind that is missing.
    """
    named = [settings.bids_dir, settings.derivatives, settings.pretraining.derivatives]
    named += [settings.splits.table, settings.captions.file, *settings.wen2018.roots]
    _literal(path for path in named if path)
    _grayordinates(settings)
    for arm in settings.arms:
        weights = (settings.arm(arm).encoder.weights or "").removeprefix("path:")
        if weights and not Path(weights).is_file():
            raise UserError(weights, "does not exist", f"correct encoder.weights (arm {arm})")
    _models(settings)
    if settings.pretraining.derivatives is not None:
        _further(settings, Path(settings.pretraining.derivatives))
    if settings.dataset == "phantom":
        splits = resolve(settings.splits, stimuli(settings))
        films = [*splits.train, *splits.validation, *splits.test]
        known = [film_name(i) for i in range(settings.phantom.films)]
        strangers = [film for film in films if film not in known]
        if strangers:
            wrong = f"{', '.join(strangers)}: the phantom has {known[0]} to {known[-1]}"
            raise UserError("splits", wrong, "correct the name or phantom.films")
        seen = settings.phantom.films - settings.phantom.test_films
        if set(splits.test) - set(known[seen:]) or set(films) - set(splits.test) - set(
            known[:seen]
        ):
            wrong = f"the phantom's test films are {', '.join(known[seen:])}, and no others"
            raise UserError("splits.test", wrong, "correct splits or phantom.test_films")
        # refuses more scenes than the grammar has
        (video_films if settings.video_llm.source == "train" else cohort_films)(
            settings.phantom, settings.seed
        )
        return
    if not raw:
        return
    if settings.dataset == "wen2018":
        _require_wen2018(settings)
        return
    root = Path(settings.bids_dir or "")
    if not (root / "dataset_description.json").is_file():
        wrong = "is not a BIDS data set (it has no dataset_description.json)"
        raise UserError(root, wrong, "correct bids_dir")
    for subject in settings.subjects:
        recordings(root, subject, settings.tasks)
    splits = resolve(settings.splits, stimuli(settings))
    films = [*splits.train, *splits.validation, *splits.test]
    _literal(films)
    lost = [film for film in films if not (root / "stimuli" / film).is_file()]
    if lost:
        todo = "correct splits (one that your file leaves out stays as in config.yaml)"
        raise UserError(root / "stimuli", f"lacks {some(lost)}", todo)
    if settings.derivatives is not None:
        found = Path(settings.derivatives)
        ends = f"**/func/{_derived(settings)}"
        without = [s for s in settings.subjects if not any(found.glob(f"sub-{s}/{ends}"))]
        if without:
            wrong = f"holds no preprocessed BOLD in {settings.bold.space} of {', '.join(without)}"
            raise UserError(found, wrong, "correct derivatives, bold.space or subjects")
    if contents:
        _links(settings, root)
        _copies(settings, root)


def _literal(paths: Iterable[str]) -> None:
    """No name holds a word in braces, which the workflow takes for a wildcard.

    Raises:
        UserError: one does.
    """
    for path in paths:
        if found := re.search(r"\{\s*\w+\s*(,[^{}]*)?\}", path):
            wrong = f"has {found[0]} in its name, which the workflow takes for a wildcard"
            raise UserError(path, wrong, "rename it without the braces")


def _copies(settings: Config, root: Path) -> None:
    """No scan is there twice, and no film on two sides of a split.

    Raises:
        UserError: one line that names the two.
    """
    scans = _files(settings, Path(settings.derivatives or root), [_scan(settings)])
    if same := twice((file, "") for file in scans):
        wrong = f"holds the same scan as {same[1]}"
        raise UserError(same[0], wrong, "correct the data set: one of the two is another run's")
    splits = resolve(settings.splits, stimuli(settings))
    shown = [(name, split) for split in SPLITS for name in getattr(splits, split)]
    if same := twice((root / "stimuli" / name, split) for name, split in shown):
        wrong = f"is the same film as {same[1]}, which is in another split"
        raise UserError(same[0], wrong, "put both into one split, or leave one of them out")


def _derived(settings: Config) -> str:
    """The pattern of the names of preprocessed BOLD."""
    kind = "bold.dtseries" if settings.bold.space == "fsLR" else "desc-preproc_bold"
    return f"*_space-{settings.bold.space}_*{kind}.nii*"


def _scan(settings: Config) -> str:
    """The pattern of the names of the BOLD that is read: preprocessed, or else raw."""
    return "*_bold.nii*" if settings.derivatives is None else _derived(settings)


def _files(settings: Config, root: Path, names: Sequence[str]) -> list[Path]:
    """The files of the subjects' runs, of the tasks that are read, by patterns of their names."""
    found = [
        file
        for subject in settings.subjects
        for name in names
        for file in sorted(root.glob(f"sub-{subject}/**/func/{name}"))
    ]
    return [file for file in found if Recording.parse(file).of(settings.tasks)]


def _links(settings: Config, root: Path) -> None:
    """No file that will be read is a link that leads nowhere; Snakemake's word for it is unclear.

    Raises:
        UserError: one line that names the first of them and how many there are.
    """
    own = ["*_events.tsv", "*_*.json"]
    files = _files(settings, root, own) + [f for name in own for f in root.glob(name)]
    if settings.derivatives is None:
        files += _files(settings, root, ["*_bold.nii*"])
    else:
        derived = [f"*_space-{settings.bold.space}_*", "*_desc-confounds_timeseries.*"]
        files += _files(settings, Path(settings.derivatives), derived)
    if nowhere := [file for file in files if file.is_symlink() and not file.exists()]:
        more = f" (and {len(nowhere) - 1} others)" if len(nowhere) > 1 else ""
        error = missing(nowhere[0], "")
        raise UserError(error.where, error.wrong + more, error.todo)


def recordings(bids_dir: Path, subject: str, tasks: Sequence[str]) -> list[Recording]:
    """The BOLD runs of a subject in a raw data set, by their names alone.

    Raises:
        UserError: there is none, of any task or of `tasks`.
    """
    files = sorted(bids_dir.glob(f"sub-{subject}/**/func/*_bold.nii.gz"))
    runs = [run for run in map(Recording.parse, files) if run.of(tasks)]
    if not runs:
        of = f" of task {' or '.join(tasks)}" if files and tasks else ""
        todo = f"correct bids_dir or {'tasks' if of else 'subjects'}"
        raise UserError(bids_dir / f"sub-{subject}", f"holds no BOLD run{of}", todo)
    return runs


def _models(settings: Config) -> None:
    """Models that the settings take from a folder lie there."""
    for key, _, source in sources(settings):
        kind, _, folder = source.partition(":")
        if kind == "path" and not Path(folder, "config.json").is_file():
            raise UserError(source, "holds no config.json", f"name a Hugging Face folder in {key}")


def _further(settings: Config, further: Path) -> None:
    """The pretraining cohort is there, and is not the one that the decoder is tested on."""
    if not (further / "dataset_description.json").is_file():
        wrong = "is not a BIDS data set (it has no dataset_description.json)"
        raise UserError(further, wrong, "correct pretraining.derivatives")
    # masked pretraining would see the test runs
    if further.resolve() == settings.derivatives_dir.resolve():
        wrong = "is what the decoder is tested on, and all runs of it would be trained on"
        raise UserError(further, wrong, OTHERS)
    subjects = further_subjects(settings)
    if without := [s for s in subjects if not (further / f"sub-{s}").is_dir()]:
        raise UserError(further, f"has no sub-{', sub-'.join(without)}", "correct pretraining")


def further_subjects(settings: Config) -> list[str]:
    """Labels of the subjects in the pretraining cohort; none if there is no such cohort.

    Raises:
        UserError: a folder's name holds more than a label; it would be part of a job's command.
    """
    chosen = settings.pretraining
    if chosen.derivatives is None:
        return []
    if chosen.subjects:
        return sorted(chosen.subjects)
    folders = sorted(path for path in Path(chosen.derivatives).glob("sub-*") if path.is_dir())
    for folder in folders:
        if not re.fullmatch(LABEL, folder.name.removeprefix("sub-")):
            todo = "rename it, or name those to read in pretraining.subjects"
            raise UserError(folder, "holds more than letters and digits in its label", todo)
    return [folder.name.removeprefix("sub-") for folder in folders]


def require_apart(settings: Config) -> None:
    """No run of the pretraining cohort is one of the decoder's own, under another label.

    Raises:
        UserError: one line that names the two.
    """
    chosen, own = settings.pretraining, settings.derivatives_dir
    if chosen.derivatives is None:
        return
    scans = "sub-*/**/func/*_bold.*nii*"
    known = [*own.glob(scans)]
    if settings.dataset == "wen2018":  # of which the run makes links only later
        roots = map(Path, settings.wen2018.roots)
        known += [f for root in roots for f in root.glob("**/subject*/fmri/*/*/*.nii*")]
    further = Path(chosen.derivatives).glob(scans)
    if same := twice(
        [*((file, "own") for file in known), *((file, "further") for file in further)]
    ):
        raise UserError(same[0], f"is a copy of {same[1]}, of the decoder's cohort", OTHERS)


def _grayordinates(settings: Config) -> None:
    """Atlas and meshes are there, and the atlas has every area, before a scan is looked at."""
    chosen = settings.bold
    for path in (chosen.atlas, *(chosen.surfaces or ())):
        if path and not Path(path).is_file():
            raise UserError(path, "does not exist", "correct bold.atlas or bold.surfaces")
    if chosen.atlas and chosen.rois:
        from llm4brain.preprocess import areas, cifti  # seconds, which other data need not wait

        areas.check(chosen.rois, cifti.names(Path(chosen.atlas)), chosen.atlas)


def stimuli(settings: Config) -> Path:
    """The folder that stim_file is relative to, as far as patterns of the splits are looked for."""
    if settings.dataset == "wen2018":
        return disk.stimuli(settings.wen2018.roots)
    root = "data/phantom" if settings.dataset == "phantom" else settings.bids_dir
    return Path(root or "") / "stimuli"


def _require_wen2018(settings: Config) -> None:
    own, splits = settings.wen2018, resolve(settings.splits, stimuli(settings))
    films = [*splits.train, *splits.validation, *splits.test]
    if strangers := [film for film in films if film not in facts.FILMS]:
        wrong = (
            f"{', '.join(strangers)}: Wen 2018 has seg1.mp4 to seg18.mp4, test1.mp4 to test5.mp4"
        )
        raise UserError("splits", wrong, "correct the name")
    stems = [Path(film).stem for film in films]
    scans = [scan for s in settings.subjects for scan in facts.scans(int(s), stems, own.leave_out)]
    disk.require(own.roots, own.kind, films, scans)
    if "human" in (settings.captions.train, settings.captions.score):
        where = disk.homes(own.roots)
        names = [f"{stem}_captions.tsv" for stem in stems]
        if lost := [name for name in names if not disk.find(where, [f"stimuli/{name}"])]:
            raise UserError(
                "captions",
                f"human ones are wanted, and no stimuli/ holds {', '.join(lost)}",
                "add them, or set captions.train and captions.score to generated",
            )


def film_seconds(settings: Config) -> dict[str, float]:
    """Seconds of each film of the splits; all but the phantom's, not made yet, are opened.

    Raises:
        UserError: one line that names a film whose frames have no certain times, or that does
            not decode.
    """
    films = resolve(settings.splits, stimuli(settings))
    names = [*films.train, *films.validation, *films.test]
    if settings.dataset == "phantom":
        length = settings.phantom.clips_per_film * settings.phantom.clip_seconds
        return dict.fromkeys(names, length)
    if settings.dataset == "wen2018":
        where = disk.homes(settings.wen2018.roots)
        paths = [disk.find(where, [f"stimuli/{name}"]) for name in names]
        found = [stimulus_durations(path.parent, [path.name]) for path in paths if path]
        return {name: length for each in found for name, length in each.items()}
    return stimulus_durations(stimuli(settings), names)


def require_runs(settings: Config) -> None:
    """Every header, sidecar, events and confounds of a data set of one's own can be read.

    Of a pretraining cohort headers and sidecars are. Warns of what events name and splits do not.

    Raises:
        UserError: one line that names the first file that cannot be, and what is wrong with it.
    """
    chosen = settings.pretraining
    for subject in further_subjects(settings):
        from llm4brain.preprocess.resting import resting_bold  # seconds

        resting_bold(Path(chosen.derivatives or ""), subject, settings.bold, chosen.tasks)
    if settings.dataset != "bids":
        return
    from llm4brain.preprocess.bold import raw_events, subject_bold

    root, shown = Path(settings.bids_dir or ""), []
    for subject in settings.subjects:
        if settings.derivatives is None:
            shown += raw_events(root, subject, settings.tasks)
        else:
            done = Path(settings.derivatives)
            made = subject_bold(root, done, subject, settings.bold, settings.tasks)
            shown += [event for run in made.meta["runs"].values() for event in run["events"]]
    splits = resolve(settings.splits, stimuli(settings))
    films = {*splits.train, *splits.validation, *splits.test}
    meant = films_meant((event["stim_file"] for event in shown), films)
    others = sorted(name for name, film in meant.items() if film not in films)
    if not films & set(meant.values()):
        wrong = f"no film of splits is shown in any run (events name {some(others) or 'none'})"
        raise UserError(root, wrong, "correct splits, or stim_file of the events")
    if others:
        warn(f"{root}: events name stimuli that splits do not: {some(others)}")


def require_captions(settings: Config, clips: pd.DataFrame | None = None) -> None:
    """Where a table of captions trains or scores: it has one of every clip, and of no other.

    Args:
        settings: all of them.
        clips: `planned_clips`, if they are known.

    Raises:
        UserError: one line that names the clips.
    """
    chosen = settings.captions
    if chosen.file is not None and "file" in (chosen.train, chosen.score):
        file_captions(planned_clips(settings) if clips is None else clips, Path(chosen.file))


def planned_clips(settings: Config) -> pd.DataFrame:
    """The clip table that the run will make.

    Raises:
        UserError: one line that names a film that cannot be read, or not be cut into clips.
    """
    films = resolve(settings.splits, stimuli(settings))
    return clip_table(film_seconds(settings), films, settings.clips.duration)[0]


def unpinned(settings: Config) -> Iterator[str]:
    """A line for each model that the settings take from the hub without naming a commit.

    Raises:
        UserError: a source that is not of the hub's form.
    """
    for _, folder, source in sources(settings):
        if line := hub.warning(source, Path("models") / folder):
            yield line


def sources(settings: Config) -> list[tuple[str, str, str]]:
    """Of each model that is not trained: key of the settings, folder in models/, source."""
    video, scored = settings.video_llm, settings.evaluate
    small = video.source == "train"
    named = [
        ("video_llm.llm", "llm", video.llm if small else None),
        ("video_llm.source", "video_llm", None if small else video.source),
        ("evaluate.sentence_model", "sentence", scored.sentence_model),
        ("evaluate.bertscore", "bertscore", scored.bertscore),
        ("evaluate.clip_model", "clip", scored.clip_model),
    ]
    return [(key, folder, source) for key, folder, source in named if source]
