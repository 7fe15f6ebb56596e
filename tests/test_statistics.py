"""The statistics of a run at the default settings, on what `make run` left in results/.

They are made of results that exist: a run of the default cohort is many minutes, and `.ci/run`
has just made one when it calls the tests. Elsewhere they say that they are skipped.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from llm4brain.config import load
from llm4brain.evaluate.bootstrap import beats
from llm4brain.io import read_table

SETTINGS = load(ROOT / "config.yaml")
TABLE = ROOT / "results" / "table1.csv"
CHECKS = ROOT / "results" / "checks.csv"
METRICS = ("cider", "similarity", "top1")
BROKEN = ("rolled", "noise", "zeros", "train_mean", "prompt", "shuffled", "shuffled_within")

pytestmark = pytest.mark.skipif(
    not TABLE.exists(), reason="no results/table1.csv here: call `make run` first"
)


def per_clip(arm: str, cohort: str, subject: str, system: str) -> pd.DataFrame:
    folder = ROOT / "results" / arm / cohort / f"sub-{subject}" / "predictions"
    return read_table(folder / f"{system}.tsv", ("clip_id", *METRICS)).set_index("clip_id")


def systems(subject: str) -> dict[str, pd.DataFrame]:
    own = {s: per_clip("full", "all", subject, s) for s in ("model", *BROKEN)}
    other = ("constant", "random", "ridge", "video")
    return own | {s: per_clip("reference", f"sub-{subject}", subject, s) for s in other}


def better(a: pd.DataFrame, b: pd.DataFrame, metric: str) -> bool:
    """Whether the bootstrap interval of a's lead over b lies above zero."""
    assert list(a.index) == list(b.index)
    return beats(a[metric].to_numpy(float), b[metric].to_numpy(float), list(a.index))


@pytest.mark.parametrize("subject", SETTINGS.subjects)
@pytest.mark.parametrize("floor", ["constant", "random", *BROKEN])
def test_the_model_beats_every_floor(subject, floor):
    found = systems(subject)
    for metric in METRICS:
        assert better(found["model"], found[floor], metric), metric


@pytest.mark.parametrize("subject", SETTINGS.subjects)
def test_the_model_beats_the_linear_baseline_in_words(subject):
    found = systems(subject)
    for metric in ("cider", "similarity"):
        assert found["model"][metric].mean() > found["ridge"][metric].mean(), metric
    # In retrieval it need only not fall behind: ridge is no more than a nearest neighbour there.
    assert not better(found["ridge"], found["model"], "top1")


@pytest.mark.parametrize("subject", SETTINGS.subjects)
def test_the_video_ceiling_lies_above_the_model(subject):
    found = systems(subject)
    for metric in METRICS:
        assert better(found["video"], found["model"], metric), metric


def test_p_is_small_for_what_reads_and_not_for_what_does_not():
    table = read_table(TABLE)
    own = table[table["subject"] != "mean"].set_index("system")
    for metric in METRICS:
        p = own[f"{metric}_p"].astype(float)
        assert (p.loc[["model", "ridge", "video"]] < 0.01).all(), metric
        floors = p[own["kind"] == "floor"].dropna()
        # of so many, one in twenty is below 0.05 by nature
        assert (floors < 0.05).mean() < 0.25, metric


def test_every_row_says_that_the_data_are_simulated():
    table = read_table(TABLE)
    assert set(table["data"]) == {"simulated"}
    scored = table[table["system"] != "agreement"]
    assert np.isfinite(scored[["cider", "similarity", "top1"]].to_numpy(float)).all()
    assert set(table["subject"]) == {*SETTINGS.subjects, "mean"}


@pytest.mark.skipif(not CHECKS.exists(), reason="no results/checks.csv here: ask Snakemake for it")
def test_what_was_planted_is_found_where_and_when_it_was_planted():
    found = read_table(CHECKS)
    assert set(found["subject"]) == set(SETTINGS.subjects)
    assert set(found["data"]) == {"simulated"}
    # the video tokens need not know of luminance and motion, which no caption tells
    told = found[found["check"] != "map_auc_lowlevel"]
    assert (told["holds"] == "yes").all(), told[told["holds"] == "no"].to_string()
