"""Features: a BOLD window for each showing of a clip, and the video tokens of each clip."""


rule bold_features:
    input:
        bold="data/bold/sub-{subject}.safetensors",
        clips="data/clips.tsv",
    output:
        features="data/features/sub-{subject}.safetensors",
        trials="data/features/sub-{subject}_trials.tsv",
    log:
        "logs/bold_features/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/bold_features/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(1500),
        runtime=30,
        gpu=0,
    params:
        settings=settings("clips", "lag", "window"),
        code=code("bold_features"),
    message:
        "Cut the BOLD of sub-{wildcards.subject} into windows, one per showing of a clip"
    shell:
        "python $SCRIPTS/bold_features.py --bold {input.bold} --clips {input.clips} "
        "--out {output.features} --trials {output.trials} "
        "--settings {params.settings:q} --code {params.code} > {log} 2>&1 "
        "&& (grep -m 5 '^warning: ' {log} >&2 || true)"


rule video_features:
    input:
        stimuli(),
        model=VIDEO_LLM,
        clips="data/clips.tsv",
    output:
        "data/features/video.safetensors",
    log:
        "logs/video_features.log",
    benchmark:
        "benchmarks/jobs/video_features.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(3000, model=2),
        runtime=120,
        gpu=1,
    params:
        stimuli=where(BIDS / "stimuli"),
        model=where("models/video_llm"),
        clips=settings("clips", "frames"),
        settings=settings("video_llm", *LOADED),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("video_features"),
    message:
        "Compute the video tokens of every clip"
    shell:
        "python $SCRIPTS/video_features.py --clips {input.clips} --stimuli {params.stimuli:q} "
        "--model {params.model} --out {output} --clip-settings {params.clips:q} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS --precision {params.precision} "
        "--code {params.code} > {log} 2>&1"
