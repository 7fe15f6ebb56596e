"""Ablations and cohorts: table 2 and the calibration curve. Hours; no part of table 1."""

ABLATIONS = [arm for arm in SETTINGS.arms if arm != arms.FULL]
TARGETS = SETTINGS.transfer.targets or SETTINGS.subjects


def cohort_cells():
    """Each subject alone, everybody, everybody else, and everybody else with some minutes."""
    cells = [("full", "all", s) for s in SETTINGS.subjects]
    cells += [("full", f"sub-{s}", s) for s in SETTINGS.subjects]
    if len(SETTINGS.subjects) > 1:
        times = ["", *(f"-{m:g}min" for m in sorted(SETTINGS.transfer.minutes))]
        cells += [("full", f"without-{s}{t}", s) for t in times for s in TARGETS]
    return cells


def table2_cells():
    return cohort_cells() + [
        (a, "all", s) for a in ABLATIONS for s in SETTINGS.subjects
    ]


def adapted(cells):
    return [
        f"{arms.home(SETTINGS, 'adapt', arm, who)}/adapt.safetensors"
        for arm, who, _ in cells
    ]


def table2_options(wildcards, input):
    """`--metrics` and `--adapted` a cell, `--subject`, `--trials` and `--reference` a subject."""
    each = (
        ("metrics", input.metrics),
        ("adapted", input.adapted),
        ("subject", SETTINGS.subjects),
        ("trials", input.trials),
        ("reference", input.reference),
    )
    return [word for name, values in each for v in values for word in (f"--{name}", v)]


rule table2:
    input:
        metrics=[cell(*each)[0] for each in table2_cells()],
        adapted=adapted(table2_cells()),
        reference=[cell("reference", f"sub-{s}", s)[0] for s in SETTINGS.subjects],
        trials=expand("data/features/sub-{s}_trials.tsv", s=SETTINGS.subjects),
    output:
        "results/table2.csv",
    log:
        "logs/table2.log",
    benchmark:
        "benchmarks/jobs/table2.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        options=table2_options,
        arms=json.dumps(SETTINGS.arms),
        settings=settings("evaluate", "block", "samples"),
        clips=settings("clips", "duration"),
        seed=SETTINGS.seed,
        code=code("table2"),
    message:
        "Write table 2"
    shell:
        "python $SCRIPTS/table2.py {params.options} --arms {params.arms:q} --out {output} "
        "--settings {params.settings:q} --clip-settings {params.clips:q} --seed {params.seed} "
        "--code {params.code} > {log} 2>&1"


use rule table2 as calibration with:
    input:
        metrics=[cell(*each)[0] for each in cohort_cells()],
        adapted=adapted(cohort_cells()),
        reference=[cell("reference", f"sub-{s}", s)[0] for s in SETTINGS.subjects],
        trials=expand("data/features/sub-{s}_trials.tsv", s=SETTINGS.subjects),
    output:
        "results/calibration.csv",
    log:
        "logs/calibration.log",
    benchmark:
        "benchmarks/jobs/calibration.tsv"
    message:
        "Write the table of cohorts"


rule calibration_figure:
    input:
        "results/calibration.csv",
    output:
        "results/calibration.png",
    log:
        "logs/calibration_figure.log",
    benchmark:
        "benchmarks/jobs/calibration_figure.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        code=code("calibration_figure"),
    message:
        "Draw the calibration curve"
    shell:
        "python $SCRIPTS/calibration_figure.py --table {input} --out {output} > {log} 2>&1"
