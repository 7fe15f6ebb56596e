"""The report page: `snakemake --cores 8 results/report.html`."""


# Not part of table 1. Results that take long (table 2, curves) are included if they exist.
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
        mem_mb=memory(1500),
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
