"""Retrieval is fair: chance is exactly chance, ties share, the truth finds itself."""

import numpy as np
import pytest

from llm4brain.errors import UserError
from llm4brain.evaluate import retrieval as module
from llm4brain.evaluate.retrieval import (
    among,
    apart,
    centred,
    chance,
    correlations,
    credit,
    top_k,
)


def clips(n, films=1):
    """Names of clips of 4 s, one after another."""
    return [f"film-{f:02d}_{4 * i:06.1f}" for f in range(films) for i in range(n // films)]


def in_tokens(readings, truth, centre):
    return correlations(centred(readings, centre), centred(truth, centre))


def retrieval(readings, truth, centre):
    return module.retrieval(in_tokens(readings, truth, centre), clips(len(truth)))


@pytest.fixture
def truth():
    return np.random.default_rng(0).normal(size=(30, 20)) + 3


def test_the_truth_finds_itself(truth):
    found = retrieval(truth, truth, truth.mean(axis=0))
    assert found["top1"].mean() == found["top5"].mean() == 100


@pytest.mark.parametrize("reading", ["zero", "centre", "random"])
def test_a_constant_reading_gets_exactly_chance(truth, reading):
    centre = truth.mean(axis=0) + 0.1
    row = {
        "zero": np.zeros(20),
        "centre": centre,
        "random": np.random.default_rng(1).normal(size=20),
    }
    # float32, as files hold it: what is left of centre - centre is rounding
    found = retrieval(np.tile(row[reading], (30, 1)).astype(np.float32), truth, centre)
    assert found["top1"].mean() == pytest.approx(100 / 30)
    assert found["top5"].mean() == pytest.approx(500 / 30)
    assert chance(clips(30))["top5"].mean() == pytest.approx(500 / 30)


def test_ties_share_credit():
    scores = np.array([[3.0, 3.0, 3.0, 1.0], [5.0, 2.0, 2.0, 2.0]])
    np.testing.assert_allclose(top_k(scores, np.array([0, 1]), 1), [1 / 3, 0])
    np.testing.assert_allclose(top_k(scores, np.array([0, 1]), 2), [2 / 3, 1 / 3])


def test_equal_clips_tie_whatever_the_rounding(truth):
    doubled = np.concatenate([truth, truth])
    found = retrieval(doubled, doubled, truth.mean(axis=0))
    np.testing.assert_allclose(found["top1"], 50)
    np.testing.assert_allclose(found["top5"], 100)


def test_what_clips_have_in_common_is_no_evidence(truth):
    """A large shared component leaves the ranks as they are, since the centre takes it away."""
    rng = np.random.default_rng(2)
    shared = 100 * rng.normal(size=20)
    noisy = truth + rng.normal(size=truth.shape)
    centre = truth.mean(axis=0)
    plain = retrieval(noisy, truth, centre)["top1"]
    np.testing.assert_array_equal(
        plain, retrieval(noisy + shared, truth + shared, centre + shared)["top1"]
    )


def test_random_readings_are_near_chance():
    rng = np.random.default_rng(4)
    values = [
        retrieval(rng.normal(size=(50, 8)), rng.normal(size=(50, 8)), np.zeros(8))["top1"].mean()
        for _ in range(200)
    ]
    assert np.mean(values) == pytest.approx(2, abs=0.5)


def test_bad_readings_are_one_clear_line(truth):
    with pytest.raises(UserError, match="shapes"):
        correlations(truth, truth[:, :5])
    broken = truth.copy()
    broken[0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        correlations(broken, truth)


def test_credit_of_every_candidate_is_that_of_each_as_the_target():
    scores = np.random.default_rng(4).integers(0, 4, size=(9, 9)).astype(float)
    for k in (1, 5):
        each = credit(scores, k)
        for target in range(9):
            np.testing.assert_allclose(each[:, target], top_k(scores, np.full(9, target), k))


def test_clips_of_another_film_are_far_and_neighbours_are_near():
    far = apart(clips(20, films=2))
    assert far[0, 10:].all()
    np.testing.assert_array_equal(far[0, :10], [False] * 5 + [True] * 5)


@pytest.mark.parametrize("ties", [False, True])
def test_among_100_is_what_drawing_gives(ties):
    rng = np.random.default_rng(5)
    names = clips(140, films=2)
    scores = rng.normal(size=(140, 140)) + 1.5 * np.eye(140)
    scores = np.round(scores, 1) if ties else scores
    far = apart(names)
    for k in (1, 5):
        exact = among(scores, far, k)
        for i in (0, 70, 139):
            others = np.flatnonzero(far[i])
            drawn = [[i, *rng.choice(others, 99, replace=False)] for _ in range(2000)]
            found = top_k(scores[i][np.array(drawn)], np.zeros(2000, int), k)
            assert exact[i] == pytest.approx(found.mean(), abs=0.03)


def test_among_100_chance_is_k_and_few_clips_have_no_number(truth):
    names = clips(130)
    same = np.zeros((130, 130))
    np.testing.assert_allclose(among(same, apart(names), 5), 0.05)
    np.testing.assert_allclose(chance(names)["top5_100"], 5)
    assert np.isnan(retrieval(truth, truth, truth.mean(axis=0))["top1_100"]).all()
    assert np.isnan(chance(clips(30))["top1_100"]).all()
