"""Raw BIDS -> derivatives with fMRIPrep's names -> one BOLD array per subject; the clip table."""

# Wen 2018's own layout -> events and films in BIDS, and its volumes as derivatives.
if WEN2018 and not NO_RAW:

    rule wen2018_participants:
        output:
            f"{BIDS}/participants.tsv",
        log:
            "logs/wen2018_participants.log",
        benchmark:
            "benchmarks/jobs/wen2018_participants.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            bids=where(BIDS),
            subjects=expand("--subjects {s}", s=SETTINGS.subjects),
            code=code("wen2018_participants"),
        message:
            "List the subjects"
        shell:
            "python $SCRIPTS/wen2018_participants.py --bids {params.bids} {params.subjects} "
            "> {log} 2>&1"

    rule wen2018_films:
        input:
            wen2018_films(),
        output:
            [f"{BIDS}/stimuli/{film.name}" for film in wen2018_films()],
        log:
            "logs/wen2018_films.log",
        benchmark:
            "benchmarks/jobs/wen2018_films.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            folder=where(BIDS / "stimuli"),
            films=film_options,
            code=code("wen2018_films"),
        message:
            "Link the films of Wen 2018"
        shell:
            "python $SCRIPTS/wen2018_films.py {params.films:q} --out-dir {params.folder} "
            "> {log} 2>&1"

    for GROUP, OUTPUT, LABELS in alike(wen2018_made):

        rule:
            name:
                f"wen2018_subject{GROUP}"
            input:
                subject_scans,
            output:
                OUTPUT,
            log:
                "logs/wen2018_subject/sub-{subject}.log",
            benchmark:
                "benchmarks/jobs/wen2018_subject/sub-{subject}.tsv"
            wildcard_constraints:
                subject=LABELS,
            priority: 1
            conda:
                "../envs/llm4brain.yaml"
            threads: LIGHT
            resources:
                mem_mb=memory(1500),
                runtime=60,
                gpu=0,
            params:
                scans=scan_options,
                bids=where(BIDS),
                out=where(DERIVATIVES),
                code=code("wen2018_subject"),
            message:
                "Link the BOLD of sub-{wildcards.subject} as derivatives and write its events"
            shell:
                "python $SCRIPTS/wen2018_subject.py --subject {wildcards.subject} {params.scans:q} "
                "--bids {params.bids} --out {params.out} --code {params.code} > {log} 2>&1"


if SETTINGS.derivatives is None and not WEN2018 and not NO_RAW:
    for GROUP, OUTPUT, LABELS in alike(derivatives):
        if SETTINGS.preprocess.backend == "minimal":

            rule:
                name:
                    f"preprocess_minimal{GROUP}"
                input:
                    f"{BIDS}/dataset_description.json",
                    raw=subject_raw,
                output:
                    OUTPUT,
                log:
                    "logs/preprocess_minimal/sub-{subject}.log",
                benchmark:
                    "benchmarks/jobs/preprocess_minimal/sub-{subject}.tsv"
                wildcard_constraints:
                    subject=LABELS,
                priority: 1
                conda:
                    "../envs/llm4brain.yaml"
                threads: LIGHT
                resources:
                    mem_mb=memory_of_a_run(2000, "raw"),
                    runtime=60,
                    gpu=0,
                params:
                    bids=where(BIDS),
                    out=where(DERIVATIVES),
                    tasks=SETTINGS.tasks,
                    task_options=task_options,
                    code=code("preprocess_minimal"),
                message:
                    "Preprocess sub-{wildcards.subject} (minimal; does not replace fMRIPrep)"
                shell:
                    "python $SCRIPTS/preprocess_minimal.py --bids {params.bids:q} "
                    "--subject {wildcards.subject} --out {params.out:q} "
                    "{params.task_options:q} --threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1 "
                    "&& (grep -m 5 '^warning: ' {log} >&2 || true)"

        else:

            rule:
                name:
                    f"preprocess_fmriprep{GROUP}"
                input:
                    f"{BIDS}/dataset_description.json",
                    subject_raw,
                output:
                    OUTPUT,
                log:
                    "logs/preprocess_fmriprep/sub-{subject}.log",
                benchmark:
                    "benchmarks/jobs/preprocess_fmriprep/sub-{subject}.tsv"
                wildcard_constraints:
                    subject=LABELS,
                retries: 0  # hours each; an error of the data would only be repeated
                conda:
                    "../envs/llm4brain.yaml"
                threads: HEAVY
                resources:
                    mem_mb=memory(SETTINGS.preprocess.mem_mb),
                    runtime=1440,
                    gpu=0,
                params:
                    bids=where(BIDS),
                    out=where(DERIVATIVES),
                    work=fmriprep_work,
                    settings=settings(
                        "preprocess", "output_spaces", "cifti", "image", "extra"
                    ),
                    machine=where(
                        settings("preprocess", "fs_license", "omp_threads", "engine")
                    ),
                    tasks=SETTINGS.tasks,
                    task_options=task_options,
                    code=code("preprocess_fmriprep"),
                message:
                    "Preprocess sub-{wildcards.subject} with fMRIPrep (takes hours)"
                shell:
                    "python $SCRIPTS/preprocess_fmriprep.py --bids {params.bids:q} "
                    "--subject {wildcards.subject} --out {params.out:q} --work {params.work} "
                    "--mem-mb {resources.mem_mb} --settings {params.settings:q} "
                    "--machine {params.machine:q} {params.task_options:q} "
                    "--threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1"


rule clips:
    input:
        stimuli(),
        splits_table(),
    output:
        "data/clips.tsv",
    log:
        "logs/clips.log",
    benchmark:
        "benchmarks/jobs/clips.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        stimuli=where(BIDS / "stimuli"),
        splits=settings("splits"),
        settings=settings("clips", "duration"),
        code=code("clips"),
    message:
        "Cut the films into clips, split by whole films"
    shell:
        "python $SCRIPTS/clips.py --stimuli {params.stimuli:q} --splits {params.splits:q} "
        "--out {output} --settings {params.settings:q} --code {params.code} "
        "> {log} 2>&1"


rule bold:
    input:
        bold=subject_derivatives,
        events=subject_events,
        further=grayordinate_files(),
    output:
        "data/bold/sub-{subject}.safetensors",
    log:
        "logs/bold/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/bold/sub-{subject}.tsv"
    priority: 1
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory_of_a_run(1500, "bold"),
        runtime=180,
        gpu=0,
    params:
        bids=where(BIDS),
        derivatives=where(DERIVATIVES),
        tasks=SETTINGS.tasks,
        task_options=task_options,
        settings=settings("bold"),
        code=code("bold"),
    message:
        "Clean the BOLD of sub-{wildcards.subject}"
    shell:
        "python $SCRIPTS/bold.py --bids {params.bids:q} --derivatives {params.derivatives:q} "
        "--subject {wildcards.subject} --out {output} --settings {params.settings:q} "
        "{params.task_options:q} --threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1 "
        "&& (grep -m 5 '^warning: ' {log} >&2 || true)"
