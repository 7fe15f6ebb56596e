"""The video-LLM (trained here or downloaded), and the captions of the films."""

if SETTINGS.video_llm.source == "train":

    rule fetch_llm:
        input:
            source_files(SETTINGS.video_llm.llm),
        output:
            model_files("models/llm", SETTINGS.video_llm.llm),
        log:
            "logs/fetch_llm.log",
        benchmark:
            "benchmarks/jobs/fetch_llm.tsv"
        localrule: True  # compute nodes often have no network
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(3000),
            runtime=60,
            gpu=0,
        params:
            source=SETTINGS.video_llm.llm,
            folder=where("models/llm"),
            code=code("fetch_model"),
        message:
            "Fetch the LLM, {params.source}"
        shell:
            "HF_HUB_OFFLINE=$FETCH_OFFLINE python $SCRIPTS/fetch_model.py --source {params.source:q} "
            "--out {params.folder} > {log} 2>&1"

    rule video_llm:
        input:
            rules.fetch_llm.output,
            films=rules.phantom_video_films.output,
        output:
            VIDEO_LLM,
            log="models/video_llm.csv",
            plot=report(
                "models/video_llm.png",
                category="Training",
                caption="captions/training.rst",
                labels={"stage": "video_llm", "arm": "every", "cohort": "every"},
            ),
        log:
            "logs/video_llm.log",
        benchmark:
            "benchmarks/jobs/video_llm.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: HEAVY
        resources:
            mem_mb=memory(4000),
            runtime=60,
            gpu=1,
        params:
            llm=where("models/llm"),
            films=where("data/video_films"),
            folder=where("models/video_llm"),
            settings=settings("video_llm", *SMALL),
            clips=settings("clips", "frames"),
            seed=SETTINGS.seed,
            precision=SETTINGS.precision,
            code=code("video_llm"),
        message:
            "Train the small video-LLM"
        shell:
            "python $SCRIPTS/video_llm.py --llm {params.llm} --films {params.films} "
            "--out {params.folder} --log {output.log} --plot {output.plot} "
            "--settings {params.settings:q} --clip-settings {params.clips:q} "
            "--seed {params.seed} --threads $OMP_NUM_THREADS --precision {params.precision} --code {params.code} > {log} 2>&1"

else:

    rule fetch_video_llm:
        input:
            source_files(SETTINGS.video_llm.source),
        output:
            model_files("models/video_llm", SETTINGS.video_llm.source),
        log:
            "logs/fetch_video_llm.log",
        benchmark:
            "benchmarks/jobs/fetch_video_llm.tsv"
        localrule: True  # compute nodes often have no network
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(3000),
            runtime=60,
            gpu=0,
        params:
            source=SETTINGS.video_llm.source,
            prompt=SETTINGS.video_llm.prompt,
            folder=where("models/video_llm"),
            code=code("fetch_model"),
        message:
            "Fetch the video-LLM, {params.source}"
        shell:
            "HF_HUB_OFFLINE=$FETCH_OFFLINE python $SCRIPTS/fetch_model.py --source {params.source:q} "
            "--out {params.folder} --prompt {params.prompt:q} > {log} 2>&1"


rule captions_human:
    input:
        stimuli_captions(),
        clips="data/clips.tsv",
    output:
        "data/captions/human.tsv",
    log:
        "logs/captions_human.log",
    benchmark:
        "benchmarks/jobs/captions_human.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        stimuli=where(BIDS / "stimuli"),
        code=code("captions_human"),
    message:
        "Gather the human captions"
    shell:
        "python $SCRIPTS/captions_human.py --clips {input.clips} --stimuli {params.stimuli:q} "
        "--out {output} > {log} 2>&1"


rule captions_generated:
    input:
        stimuli(),
        model=VIDEO_LLM,
        clips="data/clips.tsv",
    output:
        "data/captions/generated.tsv",
    log:
        "logs/captions_generated.log",
    benchmark:
        "benchmarks/jobs/captions_generated.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(3000, model=1.2),
        runtime=120,
        gpu=1,
    params:
        stimuli=where(BIDS / "stimuli"),
        model=where("models/video_llm"),
        settings=settings("video_llm", "max_new_tokens", *LOADED),
        clips=settings("clips", "frames"),
        captions=settings("captions", "samples", "temperature", "top_p"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("captions_generated"),
    message:
        "Caption every clip with the video-LLM"
    shell:
        "python $SCRIPTS/captions_generated.py --clips {input.clips} --stimuli {params.stimuli:q} "
        "--model {params.model} --out {output} --settings {params.settings:q} "
        "--clip-settings {params.clips:q} --caption-settings {params.captions:q} "
        "--seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"


if SETTINGS.captions.file:

    rule captions_file:
        input:
            clips="data/clips.tsv",
            file=SETTINGS.captions.file,
        output:
            "data/captions/file.tsv",
        log:
            "logs/captions_file.log",
        benchmark:
            "benchmarks/jobs/captions_file.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            code=code("captions_file"),
        message:
            "Gather the captions of {input.file}"
        shell:
            "python $SCRIPTS/captions_file.py --clips {input.clips} --file {input.file:q} "
            "--out {output} > {log} 2>&1"
