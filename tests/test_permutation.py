"""The test of the test: without an effect p is uniform, with one it is small."""

import numpy as np
import pytest
from scipy import stats

from llm4brain.evaluate.bootstrap import blocks
from llm4brain.evaluate.cider import cider_pairs
from llm4brain.evaluate.permutation import shuffled_p, shuffles
from llm4brain.evaluate.retrieval import centred, correlations, credit

NAMES = [f"film-{f:02d}_{4 * i:06.1f}" for f in (1, 2) for i in range(60)]
BLOCK = blocks(NAMES, 20)


def slow(rng, size, width=5):
    """Noise that is alike in neighbours, as the pictures of a film and BOLD are."""
    noise = rng.normal(size=(size + width - 1, 12))
    return np.stack([np.convolve(c, np.ones(width), "valid") for c in noise.T], axis=1)


def test_every_order_holds_each_clip_once_and_keeps_neighbours():
    orders = shuffles(BLOCK, 50, seed=0)
    assert all(sorted(order) == list(range(120)) for order in orders)
    assert len({tuple(order) for order in orders}) == 50
    together = (np.diff(orders, axis=1) == 1).mean()
    assert together > 0.75  # 5 clips a block


@pytest.mark.parametrize("kind", ["similarity", "top1"])
def test_p_of_noise_is_uniform_over_seeds(kind):
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        readings, truth = slow(rng, 120), slow(rng, 120)
        pairs = correlations(centred(readings), centred(truth))
        pairs = pairs if kind == "similarity" else credit(pairs, 5)
        found.append(shuffled_p(pairs, shuffles(BLOCK, 199, seed)))
    found = np.array(found)
    if kind == "similarity":
        assert stats.kstest(found, "uniform").pvalue > 0.01
        assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    else:  # hits are counts, and what ties with the null counts for it: never more than uniform
        for level in (0.01, 0.05, 0.2, 0.5):
            assert (found <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 300)
        assert (found <= 0.2).mean() > 0.05


def test_clips_shuffled_one_by_one_would_find_what_is_not_there():
    """Why blocks: on slow signals single clips give small p more often, at the same slowness."""
    wrong = {"blocks": [], "clips": []}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        pairs = correlations(centred(slow(rng, 120)), centred(slow(rng, 120)))
        for name, block in (("blocks", BLOCK), ("clips", np.arange(120))):
            wrong[name].append(shuffled_p(pairs, shuffles(block, 199, seed)) <= 0.05)
    assert np.mean(wrong["clips"]) > np.mean(wrong["blocks"]) + 0.03
    # the order of blocks breaks what neighbours share at their edges: a little too small as well
    assert np.mean(wrong["blocks"]) < 0.11


def test_what_is_read_gets_a_small_p_and_a_constant_none():
    rng = np.random.default_rng(1)
    truth = slow(rng, 120)
    orders = shuffles(BLOCK, 999, 0)
    read = correlations(centred(truth + slow(rng, 120)), centred(truth))
    assert shuffled_p(read, orders) == 0.001
    assert shuffled_p(np.ones((120, 120)), orders) == 1
    said = ["a man runs"] * 60 + ["a dog sleeps"] * 60
    pairs = cider_pairs(said, [[s, f"{s} here"] for s in said])
    assert shuffled_p(pairs, orders) < 0.02
    assert shuffled_p(cider_pairs(["a dog"] * 120, [[s] for s in said]), orders) == 1
