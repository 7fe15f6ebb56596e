"""What the rule files say: parts of a rule, options of its script, what may not be read."""

import ast
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, snakemake

from llm4brain.config import load


def rules():
    """Name and text of each rule; one without a name goes by its script's."""
    head = re.compile(r"^ *(?:use rule \w+ as (\w+) with|rule ?(\w*)):$", re.MULTILINE)
    for path in sorted((ROOT / "rules").glob("*.smk")):
        parts = head.split(path.read_text())
        for again, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            yield again or name or re.search(r"\$SCRIPTS/(\w+)\.py", text)[1], text


RULES = dict(rules())
EXPANDED = {  # what a param of helpers becomes
    "cohort": "--subject --features --trials",
    "subjects": "--subjects",
    "known": "--target --known --how",
    "start": "--start",
    "people": "--subject",
    "metrics": "--metrics",
    "further:q": "--bertscore --clip-model --clips --stimuli --clip-settings --corenlp"
    " --paraphrases",
    "parts:q": "--metrics --films --logs --lags --maps --checks --more",
    "simulated": "--simulated",
    "points": "--points",
    "task_options:q": "--task",
    "options": "--metrics --adapted --reference --trials --subject --ridges",
    "scans:q": "--scans",
    "shared:q": "--shared",
    "rules": "--rules",
    "films:q": "--films",
    "checked": "--subject --maps --z --about --lags --truth",
}


@pytest.mark.parametrize("cluster", ["slurm", "kubernetes"])
def test_profiles_of_clusters_are_the_default_one_but_for_what_bounds_a_run(cluster):
    default, other = (
        yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
        for name in ("default", cluster)
    )
    # `jobs` beside `--cores` on one machine would run all that is ready at once
    assert default.pop("cores") == 8
    assert "jobs" not in default
    assert "cores" not in other
    assert other["jobs"] == 100
    assert default.items() <= other.items()


@pytest.mark.parametrize(
    "name", [n for n in RULES if n not in ("score_reference", "score_own", "calibration")]
)
def test_a_rule_has_all_its_parts(name):
    for part in (
        "output",
        "log",
        "benchmark",
        "message",
        "conda",
        "threads",
        "resources",
        "params",
    ):
        assert re.search(rf"^ *{part}:", RULES[name], re.MULTILINE), f"{name} has no {part}"
    for resource in ("mem_mb", "runtime", "gpu"):
        assert f"{resource}=" in RULES[name], f"{name} has no {resource}"
    script = re.search(r"\$SCRIPTS/(\w+)\.py", RULES[name])[1]
    assert f'code=code("{script}")' in RULES[name], f"{name} does not watch scripts/{script}.py"


@pytest.mark.parametrize("name", [n for n in RULES if "$SCRIPTS" in RULES[n]])
def test_a_rule_gives_its_script_the_options_that_it_takes(name):
    text = RULES[name]
    command = " ".join(re.findall(r'"([^"\n]*)"', text[text.index("shell:") :]))
    for param, options in EXPANDED.items():
        command = command.replace(f"{{params.{param}}}", options)
    given = set(re.findall(r"--([a-z][a-z-]*)", command))
    script = re.search(r"\$SCRIPTS/(\w+)\.py", command)[1]
    tree = ast.parse((ROOT / "scripts" / f"{script}.py").read_text())
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    names = [a.arg.replace("_", "-") for a in main.args.args]
    needed = set(names[: len(names) - len(main.args.defaults)])
    assert given <= set(names), f"scripts/{script}.py knows no {given - set(names)}"
    assert needed <= given, f"rule {name} leaves out {needed - given}"


def test_every_script_is_a_step_of_the_workflow():
    called = {s for text in RULES.values() for s in re.findall(r"\$SCRIPTS/(\w+)\.py", text)}
    assert called == {path.stem for path in (ROOT / "scripts").glob("*.py")}


def test_rules_that_fetch_ask_the_network_only_where_the_user_lets_them():
    for name, text in RULES.items():
        fetches = "$SCRIPTS/fetch_model.py" in text
        assert ("HF_HUB_OFFLINE=$FETCH_OFFLINE python" in text) == fetches, name
        assert "HF_HUB_OFFLINE=0" not in text, name


def test_the_decoder_gets_no_captions():
    assert "captions" not in RULES["decode"]
    assert "human" not in RULES["decode"]


def test_truth_is_read_by_the_checks_alone_and_they_by_no_rule():
    for name, text in RULES.items():
        inputs = re.search(r"\n *input:\n(.*?)\n *output:", text, re.DOTALL)
        read = inputs[1] if inputs else ""
        assert ("truth" in read) == (name == "checks"), name
        assert "checks.csv" not in read, name


def test_the_snakefile_is_a_table_of_contents():
    text = (ROOT / "Snakefile").read_text()
    assert len(text.splitlines()) <= 60
    order = ["common", "phantom", "preprocess", "captions", "features", "pretrain"]
    order += ["align", "adapt", "tune", "evaluate", "table2", "curves", "maps", "report"]
    assert re.findall(r"rules/(\w+)\.smk", text) == order


def test_scoring_is_told_of_the_paraphrases_that_were_kept_for_it(tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "results/table1.csv")
    assert done.returncode == 0, done.stderr
    score = [line for line in done.stdout.splitlines() if "$SCRIPTS/score.py" in line]
    assert len(score) == 6
    assert all("--paraphrases data/captions/paraphrases_human.gz" in line for line in score)


def test_a_target_behind_configfile_is_told(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    done = snakemake(tmp_path, "--dry-run", "--configfile", tmp_path / "metrics.json")
    assert done.returncode
    assert "metrics.json: is not a YAML file; put targets before --configfile" in done.stderr


def test_memory_grows_with_what_a_job_reads(tmp_path):
    names = {"math": math, "os": os, "Path": Path, "SETTINGS": load(ROOT / "config.yaml")}
    exec((ROOT / "rules" / "memory.smk").read_text(), names)  # it holds functions alone
    (tmp_path / "llm").mkdir()
    for name, size in (("a", 3), ("b", 5), ("llm/config.json", 1), ("llm/1.safetensors", 10)):
        (tmp_path / name).write_bytes(bytes(size * 2**20))
    files = {"features": [str(tmp_path / "a"), str(tmp_path / "b")], "none": []}
    files["model"] = [str(tmp_path / "llm/config.json")]  # of a model rules name no weights
    asked = names["memory"](100, features=2, none=3, model=1.5)
    run = names["memory_of_a_run"](100, "features")
    for attempt in (1, 2):  # a job that was killed for memory gets more
        assert asked(None, files, attempt) == attempt * (100 + 2 * 8 + 15)
        pair = names["memory"](100, 2, features=2)
        assert pair(None, files, attempt) == attempt * 2 * (100 + 2 * 8)
        assert run(None, files, attempt) == attempt * (100 + 15 * 5)
    with pytest.raises(FileNotFoundError):  # Snakemake says <TBD>, and asks again
        asked(None, files | {"model": str(tmp_path / "later")}, 1)

    def of(width, attempt=1):
        names["SETTINGS"] = load(ROOT / "config.yaml", over(tmp_path, width))
        return names["memory_of_encoder"](100)(SimpleNamespace(arm="full"), files, attempt)

    assert of(48) < 110
    assert 2500 < of(1024) < 5000  # as MinD-Vis
    assert of(1024, 2) > 5000


def over(folder, width):
    path = folder / "over.yaml"
    blocks = {"embed_dim": width, "depth": 24 if width > 1000 else 1}
    path.write_text(yaml.safe_dump({"encoder": blocks}))
    return path
