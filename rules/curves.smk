"""Curves of retrieval against lag and, for the phantom, of results against SNR."""


# Not part of table 1: `snakemake results/full/all/sub-02/lag.png`.
rule lag_sweep:
    input:
        bold="data/bold/sub-{subject}.safetensors",
        clips="data/clips.tsv",
        video="data/features/video.safetensors",
        adapted=stage("adapt"),
    output:
        table="results/{arm}/{cohort}/sub-{subject}/lag.csv",
        plot=report(
            "results/{arm}/{cohort}/sub-{subject}/lag.png",
            category="Lag",
            caption="captions/lag.rst",
            labels={"subject": "{subject}", "arm": "{arm}", "cohort": "{cohort}"},
        ),
    log:
        "logs/lag_sweep/{arm}/{cohort}/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/lag_sweep/{arm}/{cohort}/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(6000, bold=3, video=0.35),
        runtime=120,
        gpu=0,
    params:
        title=plot_title,
        settings=settings("evaluate", "repeats", "block_seconds", "n_bootstrap"),
        clips=settings("clips", "lag", "window"),
        seed=SETTINGS.seed,
        code=code("lag_sweep"),
    message:
        "Sweep the lag of sub-{wildcards.subject} ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/lag_sweep.py --subject {wildcards.subject} --bold {input.bold} "
        "--clips {input.clips} --video {input.video} --adapted {input.adapted} "
        "--out {output.table} --plot {output.plot} --title {params.title:q} "
        "--settings {params.settings:q} --clip-settings {params.clips:q} --seed {params.seed} "
        "--code {params.code} > {log} 2>&1"


# Takes most of an hour.
if PHANTOM:
    SNR_SUBJECT = SETTINGS.snr_curve.subject or SETTINGS.subjects[0]
    LEVELS = [f"{level:g}" for level in sorted(set(SETTINGS.snr_curve.levels))]
    # A run at another SNR repeats these steps. Files that depend on the films only are reused. It
    # gets all settings except those that it replaces and those of other tables.
    SNR_STEPS = "phantom_subject bold bold_features pretrain align adapt tune decode reference score"
    SNR_RULES = f"{SNR_STEPS} score_reference fetch_video_llm fetch_sentence_model "
    SNR_RULES += f"phantom_description preprocess_{BACKEND}_{SNR_SUBJECT}"
    SNR_SCRIPTS = f"{SNR_STEPS} preprocess_{BACKEND}"
    OF_FILMS = [*stimuli(), *stimuli_captions(), "data/clips.tsv"]
    OF_FILMS += ["data/features/video.safetensors", "data/captions/generated.tsv"]
    OF_FILMS += [
        f"data/captions/{source}.tsv"
        for source in sorted({SETTINGS.captions.train, SETTINGS.captions.score})
        if source != "generated"
    ]

    rule at_snr:
        input:
            VIDEO_LLM,
            rules.fetch_sentence_model.output,
            shared=OF_FILMS,
        output:
            "results/snr/{snr}.csv",
        log:
            "logs/at_snr/{snr}.log",
        benchmark:
            "benchmarks/jobs/at_snr/{snr}.tsv"
        wildcard_constraints:
            snr="|".join(map(re.escape, LEVELS)),
        conda:
            "../envs/llm4brain.yaml"
        threads: HEAVY
        resources:
            mem_mb=memory(6000),
            runtime=240,
            gpu=1,
        params:
            snakefile=where(ROOT / "Snakefile"),
            video_llm=where("models/video_llm"),
            sentence=where("models/sentence"),
            work=snr_folder,
            subject=SNR_SUBJECT,
            shared=shared_options,
            rules=each("rules", SNR_RULES.split()),
            settings=SETTINGS.of_one_arm(),
            steps="-".join(code(script) for script in SNR_SCRIPTS.split()),
            code=code("at_snr"),
        message:
            "Run the whole workflow at an SNR of {wildcards.snr}, in {params.work}"
        shell:
            "python $SCRIPTS/at_snr.py --snr {wildcards.snr} --subject {params.subject} "
            "--snakefile {params.snakefile:q} --video-llm {params.video_llm} "
            "--sentence-model {params.sentence} --work {params.work} --out {output} "
            "{params.shared:q} {params.rules} --settings {params.settings:q} --threads $OMP_NUM_THREADS --code {params.code} "
            "> {log} 2>&1"

    rule snr_curve:
        input:
            expand("results/snr/{snr}.csv", snr=LEVELS),
        output:
            table="results/snr.csv",
            plot="results/snr.png",
        log:
            "logs/snr_curve.log",
        benchmark:
            "benchmarks/jobs/snr_curve.tsv"
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(500),
            runtime=10,
            gpu=0,
        params:
            points=each_point,
            code=code("snr_curve"),
        message:
            "Draw the SNR curve"
        shell:
            "python $SCRIPTS/snr_curve.py {params.points} --out {output.table} "
            "--plot {output.plot} > {log} 2>&1"
