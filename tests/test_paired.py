"""The p of a lead: uniform without one, in step with its interval, corrected for how many."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from llm4brain.evaluate.bootstrap import blocks, paired_interval
from llm4brain.evaluate.paired import COLUMNS, holm, lead, sign_flip_p

NAMES = [f"film-{f:02d}_{4 * i:06.1f}" for f in (1, 2) for i in range(60)]
BLOCK = blocks(NAMES, 20)


def apart(rng, shift=0.0):
    """Differences that are alike in neighbours, as captions of a film are, and skew as CIDEr is."""
    slow = np.convolve(rng.exponential(size=124) - rng.exponential(size=124), np.ones(5), "valid")
    return slow + shift


def test_without_a_lead_its_p_is_uniform_over_seeds():
    found = [sign_flip_p(apart(np.random.default_rng(s)), BLOCK, 199, s) for s in range(400)]
    # neighbours over the edge of a block are alike too: a little too small, as with any blocks
    assert (np.array(found) <= 0.05).mean() < 0.11
    exact = [
        sign_flip_p(rng.normal(size=24)[BLOCK], BLOCK, 199, s)
        for s, rng in enumerate(map(np.random.default_rng, range(400)))
    ]
    assert stats.kstest(exact, "uniform").pvalue > 0.01
    assert np.mean(np.array(exact) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_lead_either_way_has_the_smallest_p_and_a_tie_has_none():
    rng = np.random.default_rng(0)
    for shift in (9.0, -9.0):
        assert sign_flip_p(apart(rng, shift), BLOCK, 999, 0) == 0.001
    assert sign_flip_p(np.zeros(120), BLOCK, 999, 0) == 1


def test_p_and_interval_mostly_tell_the_same():
    same = []
    for seed in range(150):
        values = apart(np.random.default_rng(seed), shift=1.5 * (seed % 3))
        low, high = paired_interval(values, np.zeros(120), NAMES, 20, 500, seed)
        same.append((low > 0 or high < 0) == (sign_flip_p(values, BLOCK, 499, seed) <= 0.05))
    assert np.mean(same) > 0.9


def test_holm_is_that_of_the_textbook_and_holds_the_family_to_its_level():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert np.isnan(holm([np.nan, 0.2])).tolist() == [True, False]
    assert holm([]).size == 0
    rng = np.random.default_rng(0)
    wrong = [(holm(rng.random(40)) <= 0.05).any() for _ in range(1000)]
    assert np.mean(wrong) < 0.07


def test_the_lead_has_a_p_where_it_is_asked_for():
    rng = np.random.default_rng(1)
    names = ("cider", "similarity", "top1")
    said = {
        system: pd.DataFrame({"clip_id": NAMES} | {m: apart(rng, shift) for m in names})
        for system, shift in (("model", 9.0), ("ridge", 0.0))
    }
    assert list(lead(said, "01", 20, 100, 0).columns) == list(COLUMNS)
    found = lead(said, "01", 20, 100, 0, permutations=999)
    assert found["p"].tolist() == [0.001] * 3
