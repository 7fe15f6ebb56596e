"""One page of it all: `snakemake --cores 8 results/report.html`."""

from llm4brain.report.glossary import PARTS, STAGES
from llm4brain.report.page import look

# What the page has of each subject, and what once: option of its script -> files.
OF_EACH = {"lags": "results/full/all/sub-{subject}/lag.csv"}
ONCE = {}


def report_parts():
    """The page's inputs beside table 1: option of its script -> files."""
    cells = [cell(*each) for each in table_cells()]
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


# Not part of table 1. What is made at length (table 2, curves) is on it once it exists.
rule report:
    input:
        **report_parts(),
        table="results/table1.csv",
        lead="results/table1_lead.csv",
        clips="data/clips.tsv",
    output:
        report(
            "results/report.html",
            category="The page",
            caption="captions/report.rst",
            labels={"what": "page"},
        ),
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/jobs/report.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=1500,
        runtime=20,
        gpu=0,
    params:
        parts=report_options,
        settings=SETTINGS.model_dump_json(),
        look=look(),
        code=code("report"),
    message:
        "Write the page of results"
    shell:
        "python $SCRIPTS/report.py --table {input.table} --lead {input.lead} "
        "--clips {input.clips} {params.parts:q} --settings {params.settings:q} "
        "--out {output} --code {params.code} > {log} 2>&1"
