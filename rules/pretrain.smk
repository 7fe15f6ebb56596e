"""Masked pretraining of SC-MBM on unlabelled train BOLD; the encoder is frozen afterwards.

If the settings name a pretraining cohort, SC-MBM is trained on that cohort first.
"""


# A separate file: if its bytes stay the same, changes to the subject's BOLD rerun nothing else.
rule pretraining_tr:
    input:
        f"data/bold/sub-{SETTINGS.subjects[0]}.safetensors",
    output:
        "data/pretraining/tr.json",
    log:
        "logs/pretraining_tr.log",
    benchmark:
        "benchmarks/jobs/pretraining_tr.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        code=code("pretraining_tr"),
    message:
        "Look up the TR of the decoded cohort"
    shell:
        "python $SCRIPTS/pretraining_tr.py --bold {input} --out {output} --code {params.code} "
        "> {log} 2>&1"


rule pretraining_bold:
    input:
        bold=person_derivatives,
        like="data/pretraining/tr.json",
        further=grayordinate_files(),
    output:
        "data/pretraining/sub-{person}.safetensors",
    log:
        "logs/pretraining_bold/sub-{person}.log",
    benchmark:
        "benchmarks/jobs/pretraining_bold/sub-{person}.tsv"
    wildcard_constraints:
        person="[0-9A-Za-z]+",
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory_of_a_run(1500, "bold"),
        runtime=120,
        gpu=0,
    params:
        derivatives=where(SETTINGS.pretraining.derivatives),
        settings=settings("bold"),
        tasks=SETTINGS.pretraining.tasks,
        task_options=further_task_options,
        code=code("pretraining_bold"),
    message:
        "Clean the BOLD of sub-{wildcards.person} of the pretraining cohort"
    shell:
        "python $SCRIPTS/pretraining_bold.py --derivatives {params.derivatives:q} "
        "--subject {wildcards.person} --like {input.like} --out {output} --settings {params.settings:q} "
        "{params.task_options:q} --threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1"


rule pretraining:
    input:
        expand("data/pretraining/sub-{person}.safetensors", person=FURTHER_SUBJECTS),
        weights=encoder_weights,
        # Only the number of volumes per window is read.
        example=ancient(f"data/features/sub-{SETTINGS.subjects[0]}.safetensors"),
    output:
        out="models/{arm}/pretraining.safetensors",
        log="models/{arm}/pretraining.csv",
        plot=report(
            "models/{arm}/pretraining.png",
            category="Training",
            caption="captions/training.rst",
            labels={"stage": "pretraining", "arm": "{arm}", "cohort": "further"},
        ),
    log:
        "logs/pretraining/{arm}.log",
    benchmark:
        "benchmarks/jobs/pretraining/{arm}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory_of_encoder(4000),
        runtime=2880,
        gpu=SETTINGS.gpus,
    params:
        people=people_options,
        settings=of_further_pretraining,
        window=settings("clips", "window"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("pretraining"),
        python=where(LAUNCH),
    message:
        "Pretrain SC-MBM on the pretraining cohort ({wildcards.arm})"
    shell:
        "{params.python} $SCRIPTS/pretraining.py --bold data/pretraining {params.people} "
        "--example {input.example} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"


rule pretrain:
    input:
        features=cohort_features,
        trials=cohort_trials,
        weights=encoder_weights,
        start=further_pretrained,
    output:
        out="models/{arm}/{cohort}/pretrain.safetensors",
        log="models/{arm}/{cohort}/pretrain.csv",
        plot=report(
            "models/{arm}/{cohort}/pretrain.png",
            category="Training",
            caption="captions/training.rst",
            labels={"stage": "pretrain", "arm": "{arm}", "cohort": "{cohort}"},
        ),
    log:
        "logs/pretrain/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/pretrain/{arm}/{cohort}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory_of_encoder(4000),
        runtime=240,
        gpu=SETTINGS.gpus,
    params:
        cohort=cohort_options,
        start=start_option,
        settings=of_arm("encoder"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("pretrain"),
        python=where(LAUNCH),
    message:
        "Pretrain SC-MBM by masked modelling ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "{params.python} $SCRIPTS/pretrain.py {params.cohort} {params.start} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
