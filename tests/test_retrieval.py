"""Retrieval is fair: chance is exactly chance, ties share, the truth finds itself."""

import numpy as np
import pytest

from llm4brain.errors import UserError
from llm4brain.evaluate.retrieval import chance, correlations, retrieval, top_k


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
    assert chance(30)["top5"].mean() == pytest.approx(500 / 30)


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
        correlations(truth[:, :5], truth, truth[0])
    broken = truth.copy()
    broken[0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        correlations(broken, truth, truth[0])
