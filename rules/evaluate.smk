"""Decode the test clips, score the decoded texts, and write table 1."""


# The decoder has no access to reference texts: they are not among its inputs.
rule decode:
    input:
        features="data/features/sub-{subject}.safetensors",
        trials="data/features/sub-{subject}_trials.tsv",
        bold="data/bold/sub-{subject}.safetensors",
        clips="data/clips.tsv",
        video="data/features/video.safetensors",
        adapted=stage("adapt"),
        tuned=stage("tune", "tune/adapter_model.safetensors"),
        shape=stage("tune", "tune/adapter_config.json"),
        model=VIDEO_LLM,
        other_features=other_features,
        other_trials=other_trials,
    output:
        decoded="results/{arm}/{cohort}/sub-{subject}/decoded.tsv",
        readings="results/{arm}/{cohort}/sub-{subject}/readings.safetensors",
    log:
        "logs/decode/{arm}/{cohort}/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/decode/{arm}/{cohort}/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT  # generation gains little from a second core; two subjects in parallel gain more
    resources:
        mem_mb=memory(8000, features=1.5, other_features=0.5, model=1.2),
        runtime=120,
        gpu=1,
    params:
        video_llm=where("models/video_llm"),
        settings=settings("evaluate", "repeats", "shift_seconds"),
        clips=settings("clips", "lag", "window"),
        video=settings("video_llm", "max_new_tokens", *LOADED),
        other=other_options,
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("decode"),
    message:
        "Decode the test clips of sub-{wildcards.subject} ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/decode.py --subject {wildcards.subject} --features {input.features} "
        "--trials {input.trials} --bold {input.bold} --clips {input.clips} "
        "--video-llm {params.video_llm} --video {input.video} --adapted {input.adapted} "
        "--tuned {input.tuned} --out {output.decoded} --readings {output.readings} "
        "{params.other} --settings {params.settings:q} --clip-settings {params.clips:q} "
        "--video-settings {params.video:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--precision {params.precision} --code {params.code} > {log} 2>&1"


# Ridge may use the gate and the SC-MBM prediction of the model of all subjects. Neither was trained
# on a caption or a video token. The adaptor, which was, is in the same file and is not used.
rule reference:
    input:
        features="data/features/sub-{subject}.safetensors",
        trials="data/features/sub-{subject}_trials.tsv",
        clips="data/clips.tsv",
        video="data/features/video.safetensors",
        captions=f"data/captions/{SETTINGS.captions.score}.tsv",
        generated="data/captions/generated.tsv",
        adapted=adapted([(arms.FULL, "all", None)]),
        model=VIDEO_LLM,
    output:
        decoded="results/reference/sub-{subject}/sub-{subject}/decoded.tsv",
        readings="results/reference/sub-{subject}/sub-{subject}/readings.safetensors",
    log:
        "logs/reference/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/reference/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(8000, features=2.5, video=0.35, model=1.2),
        runtime=240,
        gpu=1,
    params:
        video_llm=where("models/video_llm"),
        settings=settings("evaluate", "repeats"),
        video=settings("video_llm", "max_new_tokens", *LOADED),
        seed=SETTINGS.seed,
        precision=SETTINGS.precision,
        code=code("reference"),
    message:
        "Floors, ridge and ceiling of sub-{wildcards.subject}"
    shell:
        "python $SCRIPTS/reference.py --subject {wildcards.subject} --features {input.features} "
        "--trials {input.trials} --clips {input.clips} --video {input.video} "
        "--captions {input.captions} --generated {input.generated} --adapted {input.adapted} "
        "--video-llm {params.video_llm} --out {output.decoded} --readings {output.readings} "
        "--settings {params.settings:q} --video-settings {params.video:q} --seed {params.seed} "
        "--threads $OMP_NUM_THREADS --precision {params.precision} --code {params.code} > {log} 2>&1"


rule fetch_sentence_model:
    input:
        source_files(SETTINGS.evaluate.sentence_model),
    output:
        model_files("models/sentence", SETTINGS.evaluate.sentence_model),
    log:
        "logs/fetch_sentence_model.log",
    benchmark:
        "benchmarks/jobs/fetch_sentence_model.tsv"
    localrule: True  # compute nodes often have no network
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(3000),
        runtime=60,
        gpu=0,
    params:
        source=SETTINGS.evaluate.sentence_model,
        folder=where("models/sentence"),
        code=code("fetch_model"),
    message:
        "Fetch the sentence encoder, {params.source}"
    shell:
        "HF_HUB_OFFLINE=$FETCH_OFFLINE python $SCRIPTS/fetch_model.py --source {params.source:q} "
        "--out {params.folder} > {log} 2>&1"


if SETTINGS.evaluate.bertscore:

    rule fetch_bertscore:
        input:
            source_files(SETTINGS.evaluate.bertscore),
        output:
            model_files("models/bertscore", SETTINGS.evaluate.bertscore),
        log:
            "logs/fetch_bertscore.log",
        benchmark:
            "benchmarks/jobs/fetch_bertscore.tsv"
        localrule: True  # compute nodes often have no network
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(3000),
            runtime=60,
            gpu=0,
        params:
            source=SETTINGS.evaluate.bertscore,
            folder=where("models/bertscore"),
            code=code("fetch_model"),
        message:
            "Fetch the encoder of BERTScore, {params.source}"
        shell:
            "HF_HUB_OFFLINE=$FETCH_OFFLINE python $SCRIPTS/fetch_model.py --source {params.source:q} "
            "--out {params.folder} > {log} 2>&1"


if SETTINGS.evaluate.clip_model:

    rule fetch_clip:
        input:
            source_files(SETTINGS.evaluate.clip_model),
        output:
            model_files("models/clip", SETTINGS.evaluate.clip_model),
        log:
            "logs/fetch_clip.log",
        benchmark:
            "benchmarks/jobs/fetch_clip.tsv"
        localrule: True  # compute nodes often have no network
        conda:
            "../envs/llm4brain.yaml"
        threads: LIGHT
        resources:
            mem_mb=memory(3000),
            runtime=60,
            gpu=0,
        params:
            source=SETTINGS.evaluate.clip_model,
            folder=where("models/clip"),
            code=code("fetch_model"),
        message:
            "Fetch the CLIP of CLIP-score, {params.source}"
        shell:
            "HF_HUB_OFFLINE=$FETCH_OFFLINE python $SCRIPTS/fetch_model.py --source {params.source:q} "
            "--out {params.folder} > {log} 2>&1"


rule paraphrases:
    input:
        f"data/captions/{SETTINGS.captions.score}.tsv",
    output:
        PARAPHRASES,
    log:
        "logs/paraphrases.log",
    benchmark:
        "benchmarks/jobs/paraphrases.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(1000),
        runtime=10,
        gpu=0,
    params:
        code=code("paraphrases"),
    message:
        "Keep the paraphrases of METEOR that can match the references"
    shell:
        "python $SCRIPTS/paraphrases.py --captions {input} --out {output} "
        "--code {params.code} > {log} 2>&1"


rule score:
    input:
        decoded="results/{arm}/{cohort}/sub-{subject}/decoded.tsv",
        readings="results/{arm}/{cohort}/sub-{subject}/readings.safetensors",
        captions=f"data/captions/{SETTINGS.captions.score}.tsv",
        sentence=rules.fetch_sentence_model.output,
        further=FURTHER,
    output:
        expand(
            "results/{arm}/{cohort}/sub-{subject}/predictions/{system}.tsv",
            system=TRAINED + CONTROLS,
            allow_missing=True,
        ),
        metrics="results/{arm}/{cohort}/sub-{subject}/metrics.json",
    log:
        "logs/score/{arm}/{cohort}/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/score/{arm}/{cohort}/sub-{subject}.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(SCORE_MB, readings=2),
        runtime=60,
        gpu=0,
    params:
        predictions=predictions,
        sentence=where("models/sentence"),
        further=further_options,
        source=SETTINGS.captions.score,
        flags="--simulated" if SIMULATED else "",
        settings=settings("evaluate", *SCORED),
        seed=SETTINGS.seed,
        code=code("score"),
    message:
        "Score sub-{wildcards.subject} ({wildcards.arm}, {wildcards.cohort})"
    shell:
        "python $SCRIPTS/score.py --subject {wildcards.subject} --decoded {input.decoded} "
        "--readings {input.readings} --captions {input.captions} "
        "--sentence-model {params.sentence} --source {params.source} {params.flags} "
        "{params.further:q} "
        "--predictions {params.predictions} --out {output.metrics} "
        "--settings {params.settings:q} --seed {params.seed} --threads $OMP_NUM_THREADS "
        "--code {params.code} > {log} 2>&1"


# Models trained on this subject only: there is no other subject to use as a control.
use rule score as score_own with:
    input:
        decoded="results/{arm}/sub-{subject}/sub-{subject}/decoded.tsv",
        readings="results/{arm}/sub-{subject}/sub-{subject}/readings.safetensors",
        captions=f"data/captions/{SETTINGS.captions.score}.tsv",
        sentence=rules.fetch_sentence_model.output,
        further=FURTHER,
    output:
        expand(
            "results/{arm}/sub-{subject}/sub-{subject}/predictions/{system}.tsv",
            system=TRAINED,
            allow_missing=True,
        ),
        metrics="results/{arm}/sub-{subject}/sub-{subject}/metrics.json",
    log:
        "logs/score/{arm}/sub-{subject}/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/score/{arm}/sub-{subject}/sub-{subject}.tsv"
    message:
        "Score sub-{wildcards.subject} ({wildcards.arm}, its own cohort)"


ruleorder: score_own > score


use rule score as score_reference with:
    input:
        decoded="results/reference/sub-{subject}/sub-{subject}/decoded.tsv",
        readings="results/reference/sub-{subject}/sub-{subject}/readings.safetensors",
        captions=f"data/captions/{SETTINGS.captions.score}.tsv",
        sentence=rules.fetch_sentence_model.output,
        further=FURTHER,
    output:
        expand(
            "results/reference/sub-{subject}/sub-{subject}/predictions/{system}.tsv",
            system=UNTRAINED,
            allow_missing=True,
        ),
        metrics="results/reference/sub-{subject}/sub-{subject}/metrics.json",
    log:
        "logs/score_reference/sub-{subject}.log",
    benchmark:
        "benchmarks/jobs/score_reference/sub-{subject}.tsv"
    params:
        predictions=predictions,
        sentence=where("models/sentence"),
        further=further_options,
        source=SETTINGS.captions.score,
        flags=("--simulated " if SIMULATED else "") + "--agreement",
        settings=settings("evaluate", *SCORED),
        seed=SETTINGS.seed,
        code=code("score"),
    message:
        "Score floors, ridge and ceiling of sub-{wildcards.subject}"


rule table:
    input:
        metrics=[cell(*key)[0] for key in table_cells()],
        predictions=[file for key in table_cells() for file in cell(*key)[1:]],
        # not read by the script; ensures that the data set is complete
        about=f"{BIDS}/participants.tsv" if PHANTOM or (WEN2018 and not NO_RAW) else [],
    output:
        table=report(
            "results/table1.csv",
            category="Table 1",
            caption="captions/table1.rst",
            labels={"what": "table"},
        ),
        leading="results/table1.json",
        lead=report(
            "results/table1_lead.csv",
            category="Table 1",
            caption="captions/table1_lead.rst",
            labels={"what": "the model's lead"},
        ),
    log:
        "logs/table.log",
    benchmark:
        "benchmarks/jobs/table.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        metrics=each_metrics,
        settings=settings("evaluate", "block_seconds", "n_bootstrap"),
        seed=SETTINGS.seed,
        code=code("table"),
    message:
        "Write table 1"
    shell:
        "python $SCRIPTS/table.py {params.metrics} --out {output.table} "
        "--leading-out {output.leading} --lead-out {output.lead} "
        "--settings {params.settings:q} --seed {params.seed} --code {params.code} > {log} 2>&1"


rule figure:
    input:
        "results/table1.csv",
    output:
        report(
            "results/table1.png",
            category="Table 1",
            caption="captions/table1_png.rst",
            labels={"what": "picture"},
        ),
    log:
        "logs/figure.log",
    benchmark:
        "benchmarks/jobs/figure.tsv"
    conda:
        "../envs/llm4brain.yaml"
    threads: LIGHT
    resources:
        mem_mb=memory(500),
        runtime=10,
        gpu=0,
    params:
        code=code("figure"),
    message:
        "Draw table 1"
    shell:
        "python $SCRIPTS/figure.py --table {input} --out {output} > {log} 2>&1"
