"""Whitening by the directions in which known people's features vary most."""

import numpy as np
import pytest

from llm4brain.align.whiten import Whitening


@pytest.fixture
def rows():
    """(300, 40): unit noise, and two shared directions of standard deviation 20 and 10."""
    rng = np.random.default_rng(0)
    loud = np.linalg.qr(rng.normal(size=(40, 2)))[0].T * [[20.0], [10.0]]
    found = rng.normal(size=(300, 40)) + rng.normal(size=(300, 2)) @ loud
    return (found - found.mean(0)).astype(np.float32)


def test_loud_directions_become_as_quiet_as_the_floor_and_quiet_ones_stay(rows):
    before = np.linalg.svd(rows, compute_uv=False) ** 2 / len(rows)
    after = np.linalg.svd(Whitening.fit(rows, 0.3).apply(rows.copy()), compute_uv=False) ** 2 / len(
        rows
    )
    floor = 0.3 * before.sum() / 200
    expected = np.sort(before * floor / (before + floor))[::-1]
    np.testing.assert_allclose(after, expected, rtol=1e-3)
    assert before[0] > 100 > 1 > after[0] > 0.3


def test_no_noise_changes_nothing(rows):
    assert np.array_equal(Whitening.fit(rows, 0.0).apply(rows.copy()), rows)


def test_it_may_be_folded_into_weights(rows):
    white = Whitening.fit(rows, 1.0)
    weights = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    folded = white.apply(weights.copy().T).T
    np.testing.assert_allclose(rows @ folded, white.apply(rows.copy()) @ weights, atol=1e-4)
    assert white.apply(rows[:0]).shape == (0, 40)  # a new person of whom there is nothing
