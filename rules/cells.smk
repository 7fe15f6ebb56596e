"""Which results exist, and which ones the tables, curves and the report use."""

import re

from llm4brain.report.glossary import PARTS, STAGES
from llm4brain.report.page import look

# Inputs of the report for each subject, and those that occur once: script option -> files.
OF_EACH = {
    "lags": "results/full/all/sub-{subject}/lag.csv",
    "maps": "results/full/all/sub-{subject}/map.png",
}
ONCE = {"checks": ["results/checks.csv"] if PHANTOM else []}


def cell(arm, cohort, subject):
    """The files of one result (arm, cohort, subject)."""
    systems = UNTRAINED if arm == "reference" else TRAINED
    if arm != "reference" and cohort != f"sub-{subject}":
        systems = systems + CONTROLS
    folder = f"results/{arm}/{cohort}/sub-{subject}"
    return [
        f"{folder}/metrics.json",
        *expand(f"{folder}/predictions/{{s}}.tsv", s=systems),
    ]


def table_cells():
    """Arm, cohort and subject of each result in table 1."""
    own = [("full", "all", s) for s in SETTINGS.subjects]
    return own + [("reference", f"sub-{s}", s) for s in SETTINGS.subjects]


def cohort_cells():
    """Results of each target subject with models trained on all subjects, on the target alone, on
    all others, and on all others plus minutes of the target, for each calibration method.
    """
    targets = SETTINGS.table2.targets
    targets = SETTINGS.subjects if targets is None else targets
    cohorts = ["all", "sub-{}"]
    if len(SETTINGS.subjects) > 1:
        minutes = sorted(SETTINGS.table2.minutes)
        ways = ["", *(f"-{how}" for how in arms.HELP)]
        cohorts += ["without-{}"]
        cohorts += [f"without-{{}}-{m:g}min{how}" for m in minutes for how in ways]
    return [("full", who.format(s), s) for who in cohorts for s in targets]


def table2_cells():
    """Every arm trained on all subjects, and the results by cohort."""
    trained = [("full", "all", s) for s in SETTINGS.subjects]
    chosen = SETTINGS.table2.arms
    chosen = SETTINGS.arms if chosen is None else chosen
    ablations = [arm for arm in chosen if arm != arms.FULL]
    trained += [(a, "all", s) for a in ablations for s in SETTINGS.subjects]
    return list(dict.fromkeys([*trained, *cohort_cells()]))


def ridges():
    """Predictions of ridge, plain and combined with parts of the model."""
    systems = [s for s in UNTRAINED if s.startswith("ridge") and s != "ridge_single"]
    folder = "results/reference/sub-{s}/sub-{s}/predictions"
    return expand(f"{folder}/{{system}}.tsv", system=systems, s=SETTINGS.subjects)


def adapted(cells):
    return [
        f"{arms.home(SETTINGS, 'adapt', arm, who)}/adapt.safetensors"
        for arm, who, _ in cells
    ]


def report_parts():
    """Inputs of the report besides table 1: script option -> files."""
    cells = [cell(*key) for key in table_cells()]
    learnt = [s for s in STAGES if s != "video_llm"]
    further = [
        Path("results", stem + end) for stem in PARTS for end in (".csv", ".png")
    ]
    return {
        "metrics": [files[0] for files in cells],
        "predictions": [file for files in cells for file in files[1:]],
        "films": [] if NO_RAW else stimuli("test"),
        "logs": (
            ["models/video_llm.csv"] * (SETTINGS.video_llm.source == "train")
            + expand("models/full/all/{stage}.csv", stage=learnt)
        ),
        "more": [str(file) for file in further if file.exists()],
        **{
            name: expand(files, subject=SETTINGS.subjects)
            for name, files in OF_EACH.items()
        },
        **ONCE,
    }


def report_options(wildcards, input):
    """`--metrics FILE` and so on; predictions are found next to their metrics."""
    return [
        word
        for name in report_parts()
        if name != "predictions"
        for file in input.get(name)
        for word in (f"--{name}", file)
    ]


def whole_state():
    """The results of table 1, and all existing results of these arms and subjects."""
    found = glob_wildcards("results/{arm}/{cohort}/sub-{subject}/metrics.json")
    cells = {
        key
        for key in zip(*found, strict=True)
        if key[2] in SETTINGS.subjects
        and key[0] in SETTINGS.arms
        and re.fullmatch(COHORT, key[1])
    }
    own = [file for key in sorted(cells | set(table_cells())) for file in cell(*key)]
    # not part of table 1; only those that already exist
    for name in ("lag.csv", f"map.{MAP}"):
        made = Path("results").glob(f"*/*/sub-*/{name}")
        own += [str(file) for file in made if f"{file.parent}/metrics.json" in own]
    asked = ["table2.csv", "calibration.png", "report.html"]
    asked += ["snr.png", "checks.csv"] if PHANTOM else []
    own += [f"results/{file}" for file in asked if Path("results", file).exists()]
    tables = [f"results/table1{end}" for end in (".csv", ".json", ".png", "_lead.csv")]
    return [*tables, *own]


def snr_folder(wildcards):
    """The folder in which the workflow runs at another SNR."""
    return f"snr/{wildcards.snr}"


def shared_options(wildcards, input):
    return each("shared", input.shared)


def each_point(wildcards, input):
    return [f"--points {path}" for path in input]


def table2_options(wildcards, input):
    """`--metrics` and `--adapted` for each result; `--subject`, `--trials` and `--reference` for
    each subject; `--ridges` for each ridge system and subject."""
    given = (
        ("metrics", input.metrics),
        ("adapted", input.adapted),
        ("subject", SETTINGS.subjects),
        ("trials", input.trials),
        ("reference", input.reference),
        ("ridges", input.get("ridges", [])),
    )
    return [word for name, values in given for word in each(name, values)]
