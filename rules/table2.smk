"""Ablations and cohorts: table 2 and the calibration curve. Takes hours; not part of table 1."""


rule table2:
    input:
        metrics=[cell(*key)[0] for key in table2_cells()],
        adapted=adapted(table2_cells()),
        reference=[cell("reference", f"sub-{s}", s)[0] for s in SETTINGS.subjects],
        trials=expand("data/features/sub-{s}_trials.tsv", s=SETTINGS.subjects),
        ridges=ridges(),
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
        mem_mb=memory(1000),
        runtime=10,
        gpu=0,
    params:
        options=table2_options,
        arms=json.dumps(SETTINGS.arms),
        settings=settings("evaluate", "block_seconds", "n_bootstrap", "n_permutations"),
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
        metrics=[cell(*key)[0] for key in cohort_cells()],
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
        "Write the table of the calibration curve"


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
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        code=code("calibration_figure"),
    message:
        "Draw the calibration curve"
    shell:
        "python $SCRIPTS/calibration_figure.py --table {input} --out {output} > {log} 2>&1"
