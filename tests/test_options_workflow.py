"""Settings that are off by default, through the real workflow, on a copy of the tiny run."""

import shutil

import pandas as pd
import pytest
import tiny_models
import yaml
from bold_data import Set
from conftest import jobs, snakemake

from llm4brain.io import Arrays, read_table

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A folder that these tests may change, as far as table 1."""
    folder = tmp_path_factory.mktemp("options") / "run"
    shutil.copytree(tiny_run, folder, symlinks=True)
    return folder


def test_further_metrics_reach_the_table(run, tiny_settings, tmp_path):
    over = tmp_path / "over.yaml"
    bert, clip = tiny_models.bert(tmp_path / "bert"), tiny_models.clip(tmp_path / "clip")
    named = {"bertscore": f"path:{bert}", "bertscore_layer": 1, "clip_model": f"path:{clip}"}
    over.write_text(yaml.safe_dump({"evaluate": named}))
    asked = ("results/table1.csv", "--configfile", tiny_settings, over)
    before = read_table(run / "results/table1.csv")
    assert before[["bertscore", "clip_score"]].isna().all(axis=None)
    assert {"fetch_bertscore", "fetch_clip", "score"} <= set(jobs(run, *asked))
    done = snakemake(run, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_table(run / "results/table1.csv")
    spoken = table[table["cider"].notna()]
    assert len(spoken) > 20
    assert spoken[["bertscore", "clip_score"]].notna().all(axis=None)
    assert (spoken[["bertscore", "clip_score"]].nunique() > 3).all()
    same = [name for name in table if not name.startswith(("bertscore", "clip_score"))]
    pd.testing.assert_frame_equal(table[same], before[same])


def test_masked_pretraining_begins_at_a_further_cohort(run, tiny_settings, tmp_path):
    further = Set(tmp_path / "further", volumes=60, tr=0.72, start=0.36)
    for subject in ("A1", "A2"):
        further.add(f"sub-{subject}_task-rest_run-01", events=None)
    over = tmp_path / "over.yaml"
    chosen = {"derivatives": str(further.out), "fit": {"epochs": 1, "batch_size": 8, "lr": 1e-3}}
    over.write_text(yaml.safe_dump({"pretraining": chosen}))
    target = "models/full/all/pretrain.safetensors"
    done = snakemake(run, target, "--configfile", tiny_settings, over)
    assert done.returncode == 0, done.stdout + done.stderr
    made = Arrays(run / "data/pretraining/sub-A1.safetensors").meta["runs"]["01"]
    assert (made["averaged"], made["volumes"]) == (3, 20)  # 2.16 s, and the phantom's TR is 2 s
    assert len(read_table(run / "models/full/pretraining.csv")) == 2
    assert Arrays(run / target).meta["pretraining"]["subjects"] == ["A1", "A2"]
    assert jobs(run, target, "--configfile", tiny_settings, over) == {}
