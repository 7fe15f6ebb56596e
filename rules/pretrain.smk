"""SC-MBM learns to fill in masked patches of unlabelled train BOLD; then it is frozen."""


rule pretrain:
    input:
        features=cohort_features,
        trials=cohort_trials,
        weights=encoder_weights,
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
        mem_mb=3000,
        runtime=240,
        gpu=1,
    params:
        cohort=cohort_options,
        settings=of_arm("encoder"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("pretrain"),
    message:
        "Pretrain SC-MBM by masked modelling ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/pretrain.py {params.cohort} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
