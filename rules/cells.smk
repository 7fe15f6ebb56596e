"""Which results there are, of whom tables, curves and the page are made."""

import re

from llm4brain.report.glossary import PARTS, STAGES
from llm4brain.report.page import look

# What the page has of each subject, and what once: option of its script -> files.
OF_EACH = {
    "lags": "results/full/all/sub-{subject}/lag.csv",
    "maps": "results/full/all/sub-{subject}/map.png",
}
ONCE = {"checks": ["results/checks.csv"] if PHANTOM else []}


def cell(arm, cohort, subject):
    """The files of one result."""
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
    """Each target by everybody, by itself alone, by everybody else, and with some minutes of it,
    whichever way others' data serve."""
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
    """Every arm on everybody, and the cohorts."""
    trained = [("full", "all", s) for s in SETTINGS.subjects]
    chosen = SETTINGS.table2.arms
    chosen = SETTINGS.arms if chosen is None else chosen
    ablations = [arm for arm in chosen if arm != arms.FULL]
    trained += [(a, "all", s) for a in ablations for s in SETTINGS.subjects]
    return list(dict.fromkeys([*trained, *cohort_cells()]))


def ridges():
    """What ridge says, as it is and with parts of the model."""
    systems = [s for s in UNTRAINED if s.startswith("ridge") and s != "ridge_single"]
    folder = "results/reference/sub-{s}/sub-{s}/predictions"
    return expand(f"{folder}/{{system}}.tsv", system=systems, s=SETTINGS.subjects)


def adapted(cells):
    return [
        f"{arms.home(SETTINGS, 'adapt', arm, who)}/adapt.safetensors"
        for arm, who, _ in cells
    ]


def report_parts():
    """The page's inputs beside table 1: option of its script -> files."""
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
    """`--metrics FILE` and so on; predictions lie beside their metrics."""
    return [
        word
        for name in report_parts()
        if name != "predictions"
        for file in input.get(name)
        for word in (f"--{name}", file)
    ]


def whole_state():
    """The results of table 1, and what results/ holds already of these arms and subjects."""
    found = glob_wildcards("results/{arm}/{cohort}/sub-{subject}/metrics.json")
    cells = {
        key
        for key in zip(*found, strict=True)
        if key[2] in SETTINGS.subjects
        and key[0] in SETTINGS.arms
        and re.fullmatch(COHORT, key[1])
    }
    own = [file for key in sorted(cells | set(table_cells())) for file in cell(*key)]
    # of no table 1, and made where somebody asked for them
    for name in ("lag.csv", f"map.{MAP}"):
        made = Path("results").glob(f"*/*/sub-*/{name}")
        own += [str(file) for file in made if f"{file.parent}/metrics.json" in own]
    asked = ["table2.csv", "calibration.png", "report.html"]
    asked += ["snr.png", "checks.csv"] if PHANTOM else []
    own += [f"results/{file}" for file in asked if Path("results", file).exists()]
    tables = [f"results/table1{end}" for end in (".csv", ".json", ".png", "_lead.csv")]
    return [*tables, *own]


def snr_folder(wildcards):
    """Where the chain runs at another SNR."""
    return f"snr/{wildcards.snr}"


def shared_options(wildcards, input):
    return each("shared", input.shared)


def each_point(wildcards, input):
    return [f"--points {path}" for path in input]


def table2_options(wildcards, input):
    """`--metrics` and `--adapted` a cell, `--subject`, `--trials` and `--reference` a subject,
    `--ridges` a ridge and subject."""
    given = (
        ("metrics", input.metrics),
        ("adapted", input.adapted),
        ("subject", SETTINGS.subjects),
        ("trials", input.trials),
        ("reference", input.reference),
        ("ridges", input.get("ridges", [])),
    )
    return [word for name, values in given for word in each(name, values)]
