"""Alignment: predict components of the video tokens from BOLD."""


rule align:
    input:
        features=cohort_features,
        trials=cohort_trials,
        video="data/features/video.safetensors",
        pretrained=stage("pretrain"),
    output:
        out="models/{arm}/{cohort}/align.safetensors",
        log="models/{arm}/{cohort}/align.csv",
        plot=report(
            "models/{arm}/{cohort}/align.png",
            category="Training",
            caption="captions/training.rst",
            labels={"stage": "align", "arm": "{arm}", "cohort": "{cohort}"},
        ),
    log:
        "logs/align/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/align/{arm}/{cohort}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(8000, features=0.6, video=0.35),
        runtime=720,
        gpu=1,
    params:
        cohort=cohort_options,
        settings=of_arm("align"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("align"),
    message:
        "Align fMRI tokens with video tokens ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/align.py {params.cohort} "
        "--video {input.video} --pretrained {input.pretrained} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
