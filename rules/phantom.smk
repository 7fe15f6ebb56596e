"""The default data set: films, and simulated BOLD of people watching them, as raw BIDS."""

if PHANTOM:

    # Separate from the inputs of other rules, so that adding a subject does not rerun the others.
    rule phantom_participants:
        output:
            "data/phantom/participants.tsv",
            "data/phantom/participants.json",
        log:
            "logs/phantom_participants.log",
        benchmark:
            "benchmarks/jobs/phantom_participants.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            folder=where("data/phantom"),
            subjects=expand("--subjects {s}", s=SETTINGS.subjects),
            code=code("phantom_participants"),
        message:
            "List the simulated subjects"
        shell:
            "python $SCRIPTS/phantom_participants.py --out-dir {params.folder} {params.subjects} "
            "> {log} 2>&1"

    rule phantom_description:
        output:
            "data/phantom/dataset_description.json",
            "data/phantom/README",
        log:
            "logs/phantom_description.log",
        benchmark:
            "benchmarks/jobs/phantom_description.tsv"
        priority: 2
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            folder=where("data/phantom"),
            settings=settings("phantom", *SCENES, *FILMED, *SCANNED),
            seed=SETTINGS.seed,
            code=code("phantom_description"),
        message:
            "Describe the simulated data set"
        shell:
            "python $SCRIPTS/phantom_description.py --out-dir {params.folder} "
            "--settings {params.settings:q} --seed {params.seed} --code {params.code} "
            "> {log} 2>&1"

    rule phantom_films:
        output:
            expand(
                "data/phantom/stimuli/{file}",
                file=phantom_films(SETTINGS.phantom.films),
            ),
        log:
            "logs/phantom_films.log",
        benchmark:
            "benchmarks/jobs/phantom_films.tsv"
        # Start early: the next jobs run two at a time, and other films and models fill the gaps.
        priority: 2
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(1000),
            runtime=10,
            gpu=0,
        params:
            folder=where("data/phantom/stimuli"),
            settings=settings("phantom", *SCENES, *FILMED),
            seed=SETTINGS.seed,
            code=code("phantom_films"),
        message:
            "Render the films that the cohort watches, with captions"
        shell:
            "python $SCRIPTS/phantom_films.py --out-dir {params.folder} "
            "--settings {params.settings:q} --seed {params.seed} --code {params.code} "
            "> {log} 2>&1"

    rule phantom_subject:
        input:
            expand(
                "data/phantom/stimuli/{film}",
                film=map(plan.film_name, range(SETTINGS.phantom.films)),
            ),
        output:
            of_any_subject(raw(SETTINGS.subjects[0])),
            of_any_subject(events(SETTINGS.subjects[0])),
            truth="data/truth/sub-{subject}.safetensors",
        log:
            "logs/phantom_subject/sub-{subject}.log",
        benchmark:
            "benchmarks/jobs/phantom_subject/sub-{subject}.tsv"
        priority: 1  # run these single-core jobs before the video-LLM training occupies the machine
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(1500),
            runtime=10,
            gpu=0,
        params:
            folder=where("data/phantom"),
            settings=settings("phantom", *SCENES, *SCANNED),
            seed=SETTINGS.seed,
            code=code("phantom_subject"),
        message:
            "Simulate sub-{wildcards.subject} watching the films"
        shell:
            "python $SCRIPTS/phantom_subject.py --subject {wildcards.subject} "
            "--out-dir {params.folder} --truth {output.truth} "
            "--settings {params.settings:q} --seed {params.seed} --code {params.code} "
            "> {log} 2>&1"


if SETTINGS.video_llm.source == "train":

    rule phantom_video_films:
        output:
            "data/video_films/films.json",
            expand(
                "data/video_films/{file}",
                file=phantom_films(SETTINGS.phantom.video_films),
            ),
        log:
            "logs/phantom_video_films.log",
        benchmark:
            "benchmarks/jobs/phantom_video_films.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(1000),
            runtime=10,
            gpu=0,
        params:
            folder=where("data/video_films"),
            settings=settings("phantom", *SCENES, *FILMED, "video_films"),
            seed=SETTINGS.seed,
            code=code("phantom_video_films"),
        message:
            "Render separate films that train the small video-LLM"
        shell:
            "python $SCRIPTS/phantom_video_films.py --out-dir {params.folder} "
            "--settings {params.settings:q} --seed {params.seed} --code {params.code} "
            "> {log} 2>&1"
