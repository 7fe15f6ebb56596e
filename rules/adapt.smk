"""Domain adaptation: reduce differences between subjects and keep what the films explain."""


rule adapt:
    input:
        features=cohort_features,
        trials=cohort_trials,
        video="data/features/video.safetensors",
        aligned=stage("align"),
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
    wildcard_constraints:
        cohort=TRAINED_COHORT,
    conda:
        "../envs/llm4brain.yaml"
    threads: HEAVY
    resources:
        mem_mb=memory(8000, features=0.6, video=0.35),
        runtime=720,
        gpu=1,
    params:
        cohort=cohort_options,
        settings=of_arm("adapt"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("adapt"),
    message:
        "Adapt across subjects ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/adapt.py {params.cohort} "
        "--video {input.video} --aligned {input.aligned} "
        "--out {output.out} --log {output.log} --plot {output.plot} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"


# Encoder, gate, adaptor and LLM are those of the cohort without the target subject.
rule calibrate:
    input:
        features=cohort_features,
        trials=cohort_trials,
        video="data/features/video.safetensors",
        adapted=without_the_target,
    output:
        "models/{arm}/{cohort}/adapt.safetensors",
    log:
        "logs/calibrate/{arm}/{cohort}.log",
    benchmark:
        "benchmarks/jobs/calibrate/{arm}/{cohort}.tsv"
    wildcard_constraints:
        cohort=CALIBRATED_COHORT,
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(8000, features=0.6, video=0.35),
        runtime=720,
        gpu=0,
    params:
        cohort=cohort_options,
        known=known_by_minutes,
        settings=of_arm("adapt"),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("calibrate"),
    message:
        "Fit the readout of a new subject ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/calibrate.py {params.cohort} {params.known} "
        "--video {input.video} --adapted {input.adapted} --out {output} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"
