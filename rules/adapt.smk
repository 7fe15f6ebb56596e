"""Domain adaptation: what differs between subjects goes, what the films say stays."""


rule adapt:
    input:
        features=cohort_features,
        trials=cohort_trials,
        video="data/features/video.safetensors",
        aligned=stage("align"),
        model=VIDEO_LLM,
    output:
        out="models/{arm}/{cohort}/adapt.safetensors",
        log="models/{arm}/{cohort}/adapt.csv",
        plot=report(
            "models/{arm}/{cohort}/adapt.png",
            category="Training",
            caption="captions/training.rst",
            labels={"stage": "adapt", "arm": "{arm}", "cohort": "{cohort}"},
        ),
    log:
        "logs/adapt/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/adapt/{arm}/{cohort}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(8000, features=2, video=1, model=0.8),
        runtime=720,
        gpu=1,
    params:
        cohort=cohort_options,
        labelled=labelled,
        video_llm=where("models/video_llm"),
        settings=of_arm("adapt"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("adapt"),
    message:
        "Adapt across subjects ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/adapt.py {params.cohort} {params.labelled} "
        "--video {input.video} --aligned {input.aligned} "
        "--video-llm {params.video_llm} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
