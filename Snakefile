"""LLM4Brain: decode text from the fMRI of people watching videos. `rule all` is at the end."""

import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)  # a clone runs its own code, not an installed one

from llm4brain.config import check, read
from llm4brain.errors import UserError, one_line_errors


configfile: f"{workflow.basedir}/config.yaml"


with one_line_errors():
    files = [Path(file) for file in workflow.configfiles]
    for file in files:
        if file.suffix not in (".yaml", ".yml"):
            raise UserError(
                file, "is not a YAML file", "put targets before --configfile"
            )
        read(file)  # rejects duplicated keys, which Snakemake does not detect
    SETTINGS = check(config, ", ".join(file.name for file in files))


include: "rules/common.smk"


wildcard_constraints:
    arm="|".join(SETTINGS.arms),
    cohort=COHORT,
    subject="|".join(SETTINGS.subjects),


include: "rules/phantom.smk"
include: "rules/preprocess.smk"
include: "rules/captions.smk"
include: "rules/features.smk"
include: "rules/pretrain.smk"
include: "rules/align.smk"
include: "rules/adapt.smk"
include: "rules/tune.smk"
include: "rules/evaluate.smk"
include: "rules/table2.smk"
include: "rules/curves.smk"
include: "rules/maps.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        "results/table1.csv",
        "results/table1.png",


rule refresh:  # the target of `dvc repro`: keeps every existing result up to date
    input:
        whole_state(),
