"""Who is trained how: names of cohorts, and which models arms share."""

import re

import numpy as np
import pandas as pd
import pytest

from llm4brain.arms import calibrated_pattern, cohort, cohort_pattern, home
from llm4brain.brain import cohort as samples
from llm4brain.config import check
from llm4brain.errors import UserError
from llm4brain.io import write_arrays, write_table

SPLITS = {"train": ["a.mp4", "b.mp4"], "validation": ["c.mp4"], "test": ["d.mp4"]}
SETTINGS = check(
    {
        "subjects": ["02", "01", "03"],
        "splits": SPLITS,
        "arms": {
            "full": {},
            "same": {},
            "coral": {"adapt": {"methods": ["coral"]}},
            "no-gap": {"tune": {"gap_weight": 0}},
            "linear-surprise": {"encoder": {"fit": {"epochs": 0}}},
        },
    }
)


@pytest.mark.parametrize(
    ("name", "members", "target", "minutes", "how", "trained_on"),
    [
        ("all", ("01", "02", "03"), "", 0, "coupled", ("01", "02", "03")),
        ("sub-02", ("02",), "", 0, "coupled", ("02",)),
        ("without-01", ("02", "03"), "01", 0, "coupled", ("02", "03")),
        ("without-01-4min", ("02", "03"), "01", 4, "coupled", ("01", "02", "03")),
        ("without-01-0.5min", ("02", "03"), "01", 0.5, "coupled", ("01", "02", "03")),
        ("without-01-4min-functional", ("02", "03"), "01", 4, "functional", ("01", "02", "03")),
        ("without-01-4min-unlabelled", ("02", "03"), "01", 4, "unlabelled", ("01", "02", "03")),
        ("without-01-0.5min-alone", ("02", "03"), "01", 0.5, "alone", ("01", "02", "03")),
    ],
)
def test_a_cohort_says_by_its_name_who_is_in_it(name, members, target, minutes, how, trained_on):
    found = cohort(name, SETTINGS.subjects)
    assert (found.members, found.target, found.minutes) == (members, target, minutes)
    assert (found.how, found.trained_on) == (how, trained_on)
    # a cohort is either trained, or calibrated to somebody
    patterns = cohort_pattern, calibrated_pattern
    matched = [bool(re.fullmatch(p(SETTINGS.subjects), name)) for p in patterns]
    assert matched == [not minutes, bool(minutes)]


@pytest.mark.parametrize(
    "name",
    ["sub-04", "without-04", "without-01-min", "without-01-0min", "everybody", "all-4min",
     "without-01-4min-coupled", "without-01-4min-else", "without-01-alone", "without-04-4min"],
)  # fmt: skip
def test_other_names_are_no_cohorts(name):
    for pattern in (cohort_pattern, calibrated_pattern):
        assert not re.fullmatch(pattern(SETTINGS.subjects), name)


def test_nobody_is_left_without_the_only_subject():
    assert not re.fullmatch(cohort_pattern(["01"]), "without-01")
    assert not re.fullmatch(calibrated_pattern(["01"]), "without-01-4min")


@pytest.mark.parametrize(
    ("stage", "arm", "where", "found"),
    [
        ("tune", "full", "all", "models/full/all"),
        ("tune", "same", "all", "models/full/all"),
        ("adapt", "no-gap", "all", "models/full/all"),
        ("tune", "no-gap", "all", "models/no-gap/all"),
        ("align", "coral", "sub-01", "models/full/sub-01"),
        ("adapt", "coral", "sub-01", "models/coral/sub-01"),
        ("pretrain", "linear-surprise", "all", "models/linear-surprise/all"),
        ("tune", "linear-surprise", "all", "models/linear-surprise/all"),
        # the calibration of a finished decoder: but for its readout, all of it stays
        ("pretrain", "full", "without-01-4min", "models/full/without-01"),
        ("align", "full", "without-01-4min-alone", "models/full/without-01"),
        ("adapt", "full", "without-01-4min", "models/full/without-01-4min"),
        ("adapt", "full", "without-01-4min-alone", "models/full/without-01-4min-alone"),
        ("tune", "full", "without-01-4min-functional", "models/full/without-01"),
    ],
)
def test_a_stage_is_trained_once_for_all_arms_that_have_it_in_common(stage, arm, where, found):
    assert home(SETTINGS, stage, arm, where) == found


@pytest.fixture
def scans(tmp_path):
    """Two subjects' features; run 2 was scanned after run 1, and its rows come first."""
    rng = np.random.default_rng(0)
    rows = [
        (f"{film}_{4.0 * k:06.1f}", f"{film}.mp4", split, run, 1)
        for film, split, run in (("b", "train", "02"), ("a", "train", "01"),
                                 ("c", "validation", "03"), ("d", "test", "04"))
        for k in range(5)
    ]  # fmt: skip
    columns = ["clip_id", "stim_file", "split", "run", "repeat"]
    trials = pd.DataFrame(rows, columns=columns).assign(valid=1.0, onset=0.0)
    trials.insert(0, "trial", range(len(trials)))
    paths = []
    for subject in ("01", "02"):
        windows = rng.standard_normal((len(trials), 2, 4)).astype(np.float32)
        arrays = {"windows": windows, "voxels": np.zeros((4, 3), dtype=np.int16)}
        write_arrays(tmp_path / f"{subject}.safetensors", arrays, {"affine": np.eye(4).tolist()})
        write_table(tmp_path / f"{subject}.tsv", trials)
        paths.append((tmp_path / f"{subject}.safetensors", tmp_path / f"{subject}.tsv"))
    return ["01", "02"], [f for f, _ in paths], [t for _, t in paths]


def test_of_a_target_the_first_trials_that_were_scanned_are_known(scans):
    found = samples.load(*scans, ("train",), labelled={"01": 7}).table
    own = found[found["subject"] == "01"]
    # run 01 first, though its rows come later, then two of run 02
    assert sorted(own["clip_id"]) == sorted(
        [*(f"a_{4.0 * k:06.1f}" for k in range(5)), "b_0000.0", "b_0004.0"]
    )
    assert (found["subject"] == "02").sum() == 10


def test_of_a_target_no_validation_trial_is_known(scans):
    found = samples.load(*scans, ("validation",), labelled={"01": 7}).table
    assert set(found["subject"]) == {"02"}
    assert len(found) == 5


def test_more_minutes_than_were_scanned_are_an_error(scans):
    with pytest.raises(UserError, match="10 training trials, and 11 were asked for"):
        samples.load(*scans, ("train",), labelled={"01": 11})
