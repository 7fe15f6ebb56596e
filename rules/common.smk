"""Shared by all rules: environment, names of files, and the settings passed to each rule."""

import json
import math
import os
from pathlib import Path

import joblib

from llm4brain import arms, ledger, locks
from llm4brain.errors import UserError
from llm4brain.phantom.dataset import is_simulated
from llm4brain.provenance import fingerprint

# Jobs call `python $SCRIPTS/name.py`. This uses the interpreter that runs snakemake, and the
# scripts and package next to this Snakefile, also with `snakemake --directory elsewhere`.
ROOT = Path(workflow.basedir)
# Only fetch_model uses the network, and only if the user's own setting allows it. Jobs read this
# file again with HF_HUB_OFFLINE=1, so the original value is kept in FETCH_OFFLINE.
os.environ.setdefault("FETCH_OFFLINE", os.environ.get("HF_HUB_OFFLINE") or "0")
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    PYTHONPATH=str(ROOT),
    PYTHONHASHSEED="0",
    SCRIPTS=str(ROOT / "scripts"),
    HF_HUB_OFFLINE="1",
)

# With `--cores 8` on a machine with 2 cores, a light job counts as 4, so two of them run at once
# instead of eight. A heavy job takes the whole machine (up to 8 cores; these models gain little
# from more). On a cluster the scheduler assigns cores, and the cores of the submitting machine are
# irrelevant: a light job requests 1, a heavy one 8 or the profile's `max-threads`.
CLUSTER = workflow.remote_exec or workflow.resource_settings.cores is None
MACHINE = joblib.cpu_count()  # respects the limits of containers, Slurm and taskset
LIGHT = 1 if CLUSTER else max(1, math.ceil(workflow.cores / MACHINE))
HEAVY = 8 if CLUSTER else LIGHT * min(MACHINE, 8)
# Snakemake exports a job's threads as OMP_NUM_THREADS. Here this is converted to real cores, and
# jobs receive it as --threads. With {threads}, two light jobs would each use all cores.
shell.prefix(
    # IFS without a space: $SCRIPTS stays one word in a clone whose path has a space
    "set -euo pipefail; IFS=$'\\n\\t'; "
    # a log on a full disk holds nothing: the line that says so needs another way out
    "exec 3>&2; export LLM4BRAIN_TERMINAL=/proc/$$/fd/3; "
    # bash outlives a process that the system killed for memory, and says so
    "trap 's=$?; case $s in 1|137) JOB=${{BASH_EXECUTION_STRING:-}} "
    "python -m llm4brain.memory $s 2>&3 || true;; esac' EXIT; "
    # while any job is alive, no later run takes its locks for those of a killed run
    "{{ exec 9< .snakemake/alive.lock && flock -s -w 5 9; }} 2> /dev/null || true; "
    f"export OMP_NUM_THREADS=$(( (OMP_NUM_THREADS + {LIGHT - 1}) / {LIGHT} )); "
    "export OPENBLAS_NUM_THREADS=$OMP_NUM_THREADS MKL_NUM_THREADS=$OMP_NUM_THREADS; "
)

# Every job is a separate Python process. If a container stops Python from storing bytecode, each
# job would compile torch and transformers again, which takes ten seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# at_snr runs a workflow inside its own job; the nested run must not use the cluster profile.
os.environ.pop("SNAKEMAKE_PROFILE", None)

# Masked pretraining and tuning use one process per GPU. Their number changes only rounding.
LAUNCH = (
    "python"
    if SETTINGS.gpus == 1
    else f"torchrun --standalone --nproc-per-node {SETTINGS.gpus}"
)

PHANTOM = SETTINGS.dataset == "phantom"
SIMULATED = is_simulated(SETTINGS)
CIFTI = SETTINGS.bold.space == "fsLR"  # grayordinates in place of voxels
MAP = "dscalar.nii" if CIFTI else "nii.gz"  # file type of brain maps
WEN2018 = SETTINGS.dataset == "wen2018"
# Data sets in another format are converted to BIDS in data/ and read from there.
BIDS = Path(
    SETTINGS.bids_dir if SETTINGS.dataset == "bids" else f"data/{SETTINGS.dataset}"
)
BACKEND, DERIVATIVES = SETTINGS.backend, SETTINGS.derivatives_dir
# Without raw data, for example after pulling features and models with DVC, existing files are used.
SOURCES = [BIDS, *map(Path, SETTINGS.wen2018.roots if WEN2018 else [])]
NO_RAW = not PHANTOM and Path("data/clips.tsv").exists()
NO_RAW = NO_RAW and not any(source.exists() for source in SOURCES)
# The systems of `decode` and `reference`; each has a file of predictions.
TRAINED = ["model", "rolled", "noise", "zeros", "train_mean", "prompt"]
TRAINED += ["shuffled", "shuffled_within"]
UNTRAINED = ["constant", "random", "nearest", "video", "agreement"]
UNTRAINED += ["ridge", "ridge_plain", "ridge_gate", "ridge_surprise", "ridge_llm"]
CONTROLS = ["other_subject"] if len(SETTINGS.subjects) > 1 else []
if SETTINGS.evaluate.repeats == "average":  # single trials then have separate rows
    TRAINED += ["model_single"]
    UNTRAINED += ["ridge_single"]


# Settings that determine the phantom's scenes, films and scans, and those used for scoring.
SCENES = ("films", "test_films", "clips_per_film", "clip_seconds")
FILMED = ("fps", "frame_size", "captions_per_clip")
SCANNED = ("repeats", "test_repeats", "lead_in", "lead_out", "tr", "voxel_mm", "snr")
SCORED = ("block_seconds", "n_bootstrap", "n_permutations", "meteor")
SCORED += ("bertscore", "bertscore_layer", "clip_model", "corenlp")
PARAPHRASES = f"data/captions/paraphrases_{SETTINGS.captions.score}.gz"
# METEOR's Java needs half of 3000; SPICE's parser and the models of other metrics need more.
SCORE_MB = 10000 if SETTINGS.evaluate.corenlp else 3000
if SETTINGS.evaluate.bertscore or SETTINGS.evaluate.clip_model:
    SCORE_MB = max(SCORE_MB, 5000)
# How jobs load the video-LLM.
LOADED = ("quantize", "device_map")
# Settings that the small video-LLM is built and trained with.
SMALL = ("image_size", "patch_size", "embed_dim", "vit_layers", "qformer_layers")
SMALL += ("num_query_tokens",)
SMALL += ("prompt", "contrast", "generate")


# -- settings: each job gets only its own part as JSON, so other edits do not rerun it


def settings(section, *keys):
    """Some keys of a section as JSON, or all of them; a job that reads another key fails."""
    return getattr(SETTINGS, section).model_dump_json(include=set(keys) or None)


def of_arm(section):
    """A function of the wildcards: a section as JSON, with the settings of the arm applied."""

    def of(wildcards):
        return getattr(SETTINGS.arm(wildcards.arm), section).model_dump_json()

    return of


def code(script):
    """Fingerprint of a script and of all modules of the package that it imports."""
    return fingerprint(str(ROOT / "scripts" / f"{script}.py"))


def where(path):
    """A param that holds a path; a change of it alone reruns nothing."""

    def folder(wildcards, input):  # functions of the input are not rerun triggers
        return str(path)

    return folder


# -- cohorts and subjects


TRAINED_COHORT = arms.cohort_pattern(SETTINGS.subjects)
CALIBRATED_COHORT = arms.calibrated_pattern(SETTINGS.subjects)
COHORT = f"{TRAINED_COHORT}|{CALIBRATED_COHORT}"


def who(wildcards):
    """The cohort of the wildcards."""
    return arms.cohort(wildcards.cohort, SETTINGS.subjects)


def members(wildcards):
    """The subjects whose data the cohort contains."""
    return who(wildcards).trained_on


def stage(name, *files):
    """A function of the wildcards: the model files after a stage."""

    def of(wildcards):
        folder = arms.home(SETTINGS, name, wildcards.arm, wildcards.cohort)
        found = [f"{folder}/{file}" for file in files or [f"{name}.safetensors"]]
        return found if len(found) > 1 else found[0]

    return of


def each(option, values):
    """`--option VALUE` for each value, as words."""
    return [word for value in values for word in (f"--{option}", value)]


def other(wildcards):
    """The next subject of the cohort, whose BOLD is a control; none if it is only this subject."""
    if wildcards.cohort == f"sub-{wildcards.subject}":
        return []
    others = [s for s in members(wildcards) if s != wildcards.subject]
    others = others or [s for s in SETTINGS.subjects if s != wildcards.subject]
    after = [s for s in others if s > wildcards.subject]
    return (after or others)[:1]


def other_features(wildcards):
    return expand("data/features/sub-{s}.safetensors", s=other(wildcards))


def other_trials(wildcards):
    return expand("data/features/sub-{s}_trials.tsv", s=other(wildcards))


def other_options(wildcards, input):
    """`--other-features F --other-trials T`, or nothing."""
    given = (("features", input.other_features), ("trials", input.other_trials))
    return [word for name, files in given for word in each(f"other-{name}", files)]


def plot_title(wildcards):
    what = "simulated phantom" if PHANTOM else "measured data"
    what = "simulated data" if SIMULATED and not PHANTOM else what
    return f"sub-{wildcards.subject}, {wildcards.arm}, trained on {wildcards.cohort}: {what}"


def gate_title(wildcards):
    what = "simulated data" if SIMULATED else "measured data"
    return f"{wildcards.arm}, learned on {wildcards.cohort}, {what}"


def first_features(wildcards):
    return f"data/features/sub-{members(wildcards)[0]}.safetensors"


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


def known_by_minutes(wildcards):
    """`--target 01 --known 60 --how coupled`: the target's first 60 trials are known."""
    found = who(wildcards)
    trials = round(found.minutes * 60 / SETTINGS.clips.duration)
    return f"--target {found.target} --known {trials} --how {found.how}"


def without_the_target(wildcards):
    """The adapted model of all subjects except the target."""
    others = f"without-{who(wildcards).target}"
    folder = arms.home(SETTINGS, "adapt", wildcards.arm, others)
    return f"{folder}/adapt.safetensors"


include: "files.smk"
include: "cells.smk"
include: "further.smk"
include: "memory.smk"


if workflow.is_main_process:
    locks.hold(Path(".snakemake"), CLUSTER)
    with one_line_errors():
        for file, made in ledger.changed_unnoticed():
            wrong = f"is not what {made} was made from, and its older date hides it from Snakemake"
            raise UserError(file, wrong, f"touch it, or delete {made}")
        ready.require_apart(SETTINGS)
        if not NO_RAW:
            ready.require_captions(SETTINGS)
        for line in ready.unpinned(SETTINGS):
            print(f"warning: {line}", file=sys.stderr)
