"""Tuning of the LLM on fMRI tokens, with the caption loss and the understanding gap."""


rule tune:
    input:
        video="data/features/video.safetensors",
        adapted=stage("adapt"),
        captions=f"data/captions/{SETTINGS.captions.train}.tsv",
        model=VIDEO_LLM,
    output:
        "models/{arm}/{cohort}/tune/adapter_config.json",
        "models/{arm}/{cohort}/tune/provenance.json",
        out="models/{arm}/{cohort}/tune/adapter_model.safetensors",
        log="models/{arm}/{cohort}/tune.csv",
        plot=report(
            "models/{arm}/{cohort}/tune.png",
            category="Training",
            caption="captions/training.rst",
            labels={"stage": "tune", "arm": "{arm}", "cohort": "{cohort}"},
        ),
    log:
        "logs/tune/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/tune/{arm}/{cohort}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(4000, SETTINGS.gpus, video=0.5, model=1.2),
        runtime=240,
        gpu=SETTINGS.gpus,
    params:
        video_llm=where("models/video_llm"),
        settings=of_arm("tune"),
        video=settings("video_llm", *LOADED),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("tune"),
        python=where(LAUNCH),
    message:
        "Tune the LLM on fMRI tokens ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "{params.python} $SCRIPTS/tune.py --video {input.video} --adapted {input.adapted} "
        "--captions {input.captions} --video-llm {params.video_llm} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --video-settings {params.video:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
