"""Names of the files of data sets and models."""

from llm4brain.evaluate.names import CORENLP
from llm4brain.phantom import plan
from llm4brain.preprocess import names
from llm4brain.preprocess.names import Recording
from llm4brain import ready
from llm4brain.sources import MANIFEST
from llm4brain.splits import resolve
from llm4brain.wen2018 import disk, facts

CLIPS = Path("data/clips.tsv")


def stimuli(*splits):
    """The films of the given splits, or of all splits."""
    chosen = splits or ("train", "validation", "test")
    return [
        f"{BIDS}/stimuli/{film}" for split in chosen for film in getattr(SPLITS, split)
    ]


def splits_table():
    """The table of splits, if the settings name one."""
    return [] if NO_RAW else [table for table in (SETTINGS.splits.table,) if table]


def stimuli_captions():
    """The human captions beside the films."""
    return [f"{Path(film).with_suffix('')}_captions.tsv" for film in stimuli()]


def phantom_films(count):
    """The films of a phantom folder, and their captions."""
    films = [Path(plan.film_name(i)).stem for i in range(count)]
    return [
        *(f"{film}.mp4" for film in films),
        *(f"{film}_captions.tsv" for film in films),
    ]


def recordings(subject):
    """The BOLD runs of a subject: planned by the phantom, or found in the data set."""
    if NO_RAW:
        return []
    if PHANTOM:
        runs = plan.runs(SETTINGS.phantom, subject, SETTINGS.seed)
        stems = [f"sub-{subject}_task-film_run-{run.number:02d}" for run in runs]
        return [Recording.parse(f"{stem}_bold.nii.gz") for stem in stems]
    if WEN2018:
        return [scan.recording(subject) for scan in wen2018_scans(subject)]
    return ready.recordings(BIDS, subject, SETTINGS.tasks)


def wen2018_scans(subject):
    """The runs of Wen 2018 whose films are in the splits."""
    films = [Path(film).stem for film in stimuli()]
    return facts.scans(int(subject), films, SETTINGS.wen2018.leave_out)


def wen2018_sources(subject):
    """The files of a subject's runs on disk; `require` has checked that they exist."""
    where, scans = disk.homes(SETTINGS.wen2018.roots), wen2018_scans(subject)
    return list(disk.look(where, SETTINGS.wen2018.kind, [], scans).scans.values())


def wen2018_films():
    """The films on disk, and any captions beside them."""
    where, films = disk.homes(SETTINGS.wen2018.roots), stimuli()
    names = [Path(film).name for film in films]
    names += [f"{Path(film).stem}_captions.tsv" for film in films]
    found = [disk.find(where, [f"stimuli/{name}"]) for name in names]
    return [path for path in found if path]


def scan_options(wildcards, input):
    return each("scans", input)


def film_options(wildcards, input):
    return each("films", input)


def raw(subject):
    """The raw files of a subject that preprocessing reads."""
    if not PHANTOM:
        parts = [
            BIDS.glob(f"sub-{subject}/**/{kind}/*") for kind in ("anat", "func", "fmap")
        ]
        own = [str(file) for part in parts for file in part if file.is_file()]
        return sorted([*own, *inherited(subject, "*_*.json")])
    runs = [f"{BIDS}/{run.folder}/{run.stem}" for run in RECORDINGS[subject]]
    images = [f"{run}_bold.{kind}" for run in runs for kind in ("nii.gz", "json")]
    return [f"{BIDS}/sub-{subject}/anat/sub-{subject}_T1w.nii.gz", *images]


def events(subject):
    """The events of a subject's runs, and those at the root that apply to all subjects."""
    # This path does not exist; existing outputs are then used as they are.
    if NO_RAW:
        return [f"{BIDS}/sub-{subject}"]
    if PHANTOM or WEN2018:
        return [
            f"{BIDS}/{run.folder}/{run.stem}_events.tsv" for run in RECORDINGS[subject]
        ]
    own = BIDS.glob(f"sub-{subject}/**/func/*_events.tsv")
    read = [str(file) for file in own if Recording.parse(file).of(SETTINGS.tasks)]
    return sorted([*read, *inherited(subject, "*_events.tsv")])


def inherited(subject, names):
    """Files in folders above a subject's scans that apply to them by BIDS inheritance."""
    above = ("", f"sub-{subject}/", f"sub-{subject}/ses-*/")
    found = {str(file) for folder in above for file in BIDS.glob(f"{folder}{names}")}
    return sorted(
        file for file in found if not file.endswith("dataset_description.json")
    )


def of_any_subject(files, subject=SETTINGS.subjects[0]):
    """The files of a subject as a pattern with the wildcard `subject`."""
    return [f.replace(f"sub-{subject}", "sub-{subject}") for f in files]


def alike(files):
    """Subjects whose files differ only in the label, as (suffix of a rule's name, pattern, labels).

    In real data the runs differ between subjects. One rule for each such group, and not for each
    subject, keeps the planning of a thousand subjects short.
    """
    groups = {}
    for subject in SETTINGS.subjects:
        pattern = tuple(of_any_subject(files(subject), subject))
        groups.setdefault(pattern, []).append(subject)
    return [
        (f"_{number}" if number else "", list(pattern), "|".join(labels))
        for number, (pattern, labels) in enumerate(groups.items())
    ]


def derivatives(subject):
    """Output of preprocessing for a subject: BOLD, sidecar, brain mask and confounds per run."""
    spaces = names.output_spaces(SETTINGS.preprocess.output_spaces)
    resolution = (
        dict(spaces).get(SETTINGS.bold.space) if BACKEND == "fmriprep" else None
    )
    if NO_RAW:
        return [f"{BIDS}/sub-{subject}"]
    if SETTINGS.derivatives:
        here = DERIVATIVES.glob(
            f"sub-{subject}/**/func/*_space-{SETTINGS.bold.space}_*"
        )
        other = DERIVATIVES.glob(f"sub-{subject}/**/func/*_desc-confounds_timeseries.*")
        return sorted(
            str(file)
            for part in (here, other)
            for file in part
            if Recording.parse(file).of(SETTINGS.tasks)
        )
    files = []
    for run in RECORDINGS[subject]:
        if WEN2018 and SETTINGS.wen2018.kind == "cifti":
            files += [f"{DERIVATIVES}/{n}" for n in (run.cifti(), run.confounds())]
            continue
        volume = (SETTINGS.bold.space, resolution)
        made = (
            run.bold(*volume),
            run.bold_json(*volume),
            run.mask(*volume),
            run.confounds(),
        )
        if CIFTI:
            made = (run.cifti(), run.cifti_json(), run.confounds())
        files += [f"{DERIVATIVES}/{name}" for name in made]
    return files


def model_files(folder, source):
    """The files of a model's folder whose names are known in advance.

    The manifest holds the SHA-256 of every file, so any change to the model changes the manifest.
    """
    source_files(source)  # raises an error if the folder does not exist
    return [f"{folder}/config.json", f"{folder}/{MANIFEST}"]


def source_files(source):
    """The files that a `path:` source copies; if they change, it is copied again."""
    kind, _, rest = source.partition(":")
    if kind != "path":
        return []
    return [str(file) for file in sorted(Path(rest).rglob("*")) if file.is_file()]


def grayordinate_files():
    """The atlas and meshes that the settings name, if any."""
    chosen = SETTINGS.bold
    return [file for file in (chosen.atlas, *(chosen.surfaces or ())) if file]


def map_flags(wildcards, input):
    """`--simulated`, `--surfaces L --surfaces R`, or nothing."""
    meshes = each("surfaces", input.surfaces)
    return (["--simulated"] if SIMULATED else []) + meshes


def encoder_weights(wildcards):
    """The weights from which pretraining starts, or nothing."""
    source = SETTINGS.arm(wildcards.arm).encoder.weights
    return [source.removeprefix("path:")] if source else []


def further_files():
    """Files that METEOR, BERTScore, CLIP-score and SPICE read, for those that are enabled."""
    chosen, files = SETTINGS.evaluate, []
    if chosen.meteor:
        files += [PARAPHRASES]
    if chosen.bertscore:
        files += model_files("models/bertscore", chosen.bertscore)
    if chosen.clip_model:
        files += model_files("models/clip", chosen.clip_model)
        files += ["data/clips.tsv", *stimuli("test")]
    if chosen.corenlp:
        jars = [Path(chosen.corenlp, jar) for jar in CORENLP]
        missing = [jar.name for jar in jars if not jar.is_file()]
        if missing:
            raise UserError(
                chosen.corenlp,
                f"lacks {', '.join(missing)}",
                "correct evaluate.corenlp",
            )
        files += map(str, jars)
    return files


def further_options(wildcards, input):
    """The script options for these files."""
    chosen, options = SETTINGS.evaluate, []
    if chosen.meteor:
        options += ["--paraphrases", PARAPHRASES]
    if chosen.bertscore:
        options += ["--bertscore", "models/bertscore"]
    if chosen.clip_model:
        options += ["--clip-model", "models/clip", "--clips", "data/clips.tsv"]
        options += ["--stimuli", f"{BIDS}/stimuli"]
        options += ["--clip-settings", settings("clips", "frames")]
    if chosen.corenlp:
        options += ["--corenlp", chosen.corenlp]
    return options


def task_options(wildcards, input):
    """`--task NAME` for each task in the settings, or nothing."""
    return each("task", SETTINGS.tasks)


def subject_derivatives(wildcards):
    return derivatives(wildcards.subject)


def subject_events(wildcards):
    return events(wildcards.subject)


def subject_raw(wildcards):
    return raw(wildcards.subject)


def subject_scans(wildcards):
    return wen2018_sources(wildcards.subject)


def wen2018_made(subject):
    """What is made of a subject's files in Wen 2018's own layout."""
    return [*events(subject), *derivatives(subject)]


def fmriprep_work(wildcards, input):
    """Where fMRIPrep works; a function of the input, so that a change of it reruns nothing."""
    return f"data/fmriprep_work/sub-{wildcards.subject}"


def predictions(wildcards, output):
    """The folder of a subject's predictions."""
    return str(Path(output.metrics).parent / "predictions")


def each_metrics(wildcards, input):
    return [f"--metrics {path}" for path in input.metrics]


def checked_options(wildcards, input):
    """`--subject 01 --maps F --z F --about F --lags F --truth F` for each subject."""
    names = ("maps", "z", "about", "lags", "truth")
    rows = zip(SETTINGS.subjects, *(input[name] for name in names), strict=True)
    return [
        f"--subject {s} " + " ".join(f"--{n} {f}" for n, f in zip(names, files))
        for s, *files in rows
    ]


with one_line_errors():
    ready.require(SETTINGS, raw=not NO_RAW, contents=workflow.is_main_process)
    if NO_RAW:
        SPLITS = resolve(SETTINGS.splits, BIDS / "stimuli", CLIPS)
    else:
        SPLITS = resolve(SETTINGS.splits, ready.stimuli(SETTINGS))
    RECORDINGS = {subject: recordings(subject) for subject in SETTINGS.subjects}
    VIDEO_LLM = model_files("models/video_llm", SETTINGS.video_llm.source)
    FURTHER = further_files()


if NO_RAW:
    kept = [("data/clips.tsv", settings("clips", "duration"))]
    kept += [("data/clips.tsv", settings("splits"))]
    kept += [("data/features/video.safetensors", settings("clips", "frames"))]
    kept += [
        (f"data/bold/sub-{s}.safetensors", settings("bold")) for s in SETTINGS.subjects
    ]
    with one_line_errors():
        for path, part in kept:
            if not ledger.made_with(path, part):
                raise UserError(
                    path,
                    f"was made with other settings, and {BIDS} is not here to make it again",
                    "put the settings back, or get the data set",
                )
