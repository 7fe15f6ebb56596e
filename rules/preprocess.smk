"""Raw BIDS -> derivatives under fMRIPrep's names -> one BOLD array a subject; the clip table."""

# One rule a subject, because in real data the subjects' runs differ.
if SETTINGS.derivatives is None and not NO_RAW:
    for SUBJECT in SETTINGS.subjects:
        if SETTINGS.preprocess.backend == "minimal":

            rule:
                name:
                    f"preprocess_minimal_{SUBJECT}"
                input:
                    f"{BIDS}/dataset_description.json",
                    raw(SUBJECT),
                output:
                    derivatives(SUBJECT),
                log:
                    f"logs/preprocess_minimal/sub-{SUBJECT}.log",
                benchmark:
                    f"benchmarks/jobs/preprocess_minimal/sub-{SUBJECT}.tsv"
                priority: 1
                conda:
                    "../envs/llm4brain.yaml"
                threads: LIGHT
                resources:
                    mem_mb=2000,
                    runtime=60,
                    gpu=0,
                params:
                    subject=SUBJECT,
                    bids=where(BIDS),
                    out=where(DERIVATIVES),
                    code=code("preprocess_minimal"),
                message:
                    "Preprocess sub-{params.subject} (minimal, no substitute for fMRIPrep)"
                shell:
                    "python $SCRIPTS/preprocess_minimal.py --bids {params.bids} "
                    "--subject {params.subject} --out {params.out} "
                    "--threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1"

        else:

            rule:
                name:
                    f"preprocess_fmriprep_{SUBJECT}"
                input:
                    f"{BIDS}/dataset_description.json",
                    raw(SUBJECT),
                output:
                    derivatives(SUBJECT),
                log:
                    f"logs/preprocess_fmriprep/sub-{SUBJECT}.log",
                benchmark:
                    f"benchmarks/jobs/preprocess_fmriprep/sub-{SUBJECT}.tsv"
                conda:
                    "../envs/llm4brain.yaml"
                threads: HEAVY
                resources:
                    mem_mb=SETTINGS.preprocess.mem_mb,
                    runtime=1440,
                    gpu=0,
                params:
                    subject=SUBJECT,
                    bids=where(BIDS),
                    out=where(DERIVATIVES),
                    work=where(f"data/fmriprep_work/sub-{SUBJECT}"),
                    settings=settings("preprocess", "output_spaces", "cifti", "image"),
                    machine=where(settings("preprocess", "fs_license", "omp_threads")),
                    code=code("preprocess_fmriprep"),
                message:
                    "Preprocess sub-{params.subject} with fMRIPrep (hours)"
                shell:
                    "python $SCRIPTS/preprocess_fmriprep.py --bids {params.bids} "
                    "--subject {params.subject} --out {params.out} --work {params.work} "
                    "--mem-mb {resources.mem_mb} --settings {params.settings:q} "
                    "--machine {params.machine:q} --threads $OMP_NUM_THREADS --code {params.code} "
                    "> {log} 2>&1"


rule clips:
    input:
        stimuli(),
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
        mem_mb=500,
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
        "python $SCRIPTS/clips.py --stimuli {params.stimuli} --splits {params.splits:q} "
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
        mem_mb=1500,
        runtime=60,
        gpu=0,
    params:
        bids=where(BIDS),
        derivatives=where(DERIVATIVES),
        settings=settings("bold"),
        code=code("bold"),
    message:
        "Clean the BOLD of sub-{wildcards.subject}"
    shell:
        "python $SCRIPTS/bold.py --bids {params.bids} --derivatives {params.derivatives} "
        "--subject {wildcards.subject} --out {output} --settings {params.settings:q} "
        "--threads $OMP_NUM_THREADS --code {params.code} > {log} 2>&1"
