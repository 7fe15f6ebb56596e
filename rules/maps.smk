"""Maps of where a model decodes from, and a comparison with the ground truth of the phantom."""


# Not part of table 1: `snakemake results/full/all/sub-02/map.png`.
rule brain_map:
    input:
        features="data/features/sub-{subject}.safetensors",
        trials="data/features/sub-{subject}_trials.tsv",
        video="data/features/video.safetensors",
        adapted=stage("adapt"),
        surfaces=SETTINGS.bold.surfaces or [],
    output:
        map=f"results/{{arm}}/{{cohort}}/sub-{{subject}}/map.{MAP}",
        z=f"results/{{arm}}/{{cohort}}/sub-{{subject}}/map_z.{MAP}",
        about="results/{arm}/{cohort}/sub-{subject}/map.json",
        plot="results/{arm}/{cohort}/sub-{subject}/map.png",
    log:
        "logs/brain_map/{arm}/{cohort}/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/brain_map/{arm}/{cohort}/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(6000, features=3, video=0.35),
        runtime=360,
        gpu=0,
    params:
        title=plot_title,
        flags=map_flags,
        settings=settings("evaluate", "repeats", "block_seconds"),
        seed=SETTINGS.seed,
        code=code("brain_map"),
    message:
        "Map voxel contributions of sub-{wildcards.subject} ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/brain_map.py --subject {wildcards.subject} --features {input.features} "
        "--trials {input.trials} --video {input.video} --adapted {input.adapted} "
        "--out {output.map} --z-out {output.z} --about {output.about} --plot {output.plot} "
        "--title {params.title:q} {params.flags:q} --settings {params.settings:q} "
        "--seed {params.seed} --code {params.code} > {log} 2>&1"


rule gate_map:
    input:
        adapted=stage("adapt"),
        features=first_features,
        surfaces=SETTINGS.bold.surfaces or [],
    output:
        map=f"results/{{arm}}/{{cohort}}/gate.{MAP}",
        plot="results/{arm}/{cohort}/gate.png",
    log:
        "logs/gate_map/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/gate_map/{arm}/{cohort}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(2000, features=1),
        runtime=30,
        gpu=0,
    params:
        title=gate_title,
        flags=map_flags,
        code=code("gate_map"),
    message:
        "Map where responses agree ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/gate_map.py --adapted {input.adapted} --features {input.features} "
        "--out {output.map} --plot {output.plot} --title {params.title:q} {params.flags:q} "
        "--code {params.code} > {log} 2>&1"


if PHANTOM:

    # The only rule that reads the ground truth. No rule reads its output.
    rule checks:
        input:
            maps=expand("results/full/all/sub-{s}/map.nii.gz", s=SETTINGS.subjects),
            z=expand("results/full/all/sub-{s}/map_z.nii.gz", s=SETTINGS.subjects),
            about=expand("results/full/all/sub-{s}/map.json", s=SETTINGS.subjects),
            lags=expand("results/full/all/sub-{s}/lag.csv", s=SETTINGS.subjects),
            gate="results/full/all/gate.nii.gz",
            truth=expand("data/truth/sub-{s}.safetensors", s=SETTINGS.subjects),
        output:
            "results/checks.csv",
        log:
            "logs/checks.log",
        benchmark:
            "benchmarks/jobs/checks.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(1000),
            runtime=10,
            gpu=0,
        params:
            checked=checked_options,
            clips=settings("clips", "lag", "window"),
            code=code("checks"),
        message:
            "Check map and lag against the planted truth"
        shell:
            "python $SCRIPTS/checks.py {params.checked} --gate {input.gate} --out {output} "
            "--clip-settings {params.clips:q} --code {params.code} > {log} 2>&1"
