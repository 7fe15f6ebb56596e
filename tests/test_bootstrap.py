"""Blocks are long enough, resamples are shared, and intervals cover the truth."""

import numpy as np
import pytest
from scipy.signal import lfilter

from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import beats, blocks, interval, paired_interval, resample


def clips(stimuli, n, step=4.0):
    return [f"film-{s:02d}_{i * step:06.1f}" for s in range(stimuli) for i in range(n)]


@pytest.mark.parametrize(("step", "n"), [(4.0, 60), (3.0, 61), (0.1, 1000), (7.5, 9), (30.0, 4)])
def test_blocks_last_at_least_20_s_and_stay_in_their_stimulus(step, n):
    names = clips(2, n, step)
    found = blocks(names, 20)
    assert set(found) == set(range(found.max() + 1))
    for block in range(found.max() + 1):
        own = [names[i] for i in np.flatnonzero(found == block)]
        assert len({name.split("_")[0] for name in own}) == 1
        onsets = [float(name.split("_")[1]) for name in own]
        assert np.ptp(onsets) + step >= min(20, n * step) - 1e-6
        np.testing.assert_allclose(np.diff(onsets), step)


def test_blocks_of_the_phantom():
    np.testing.assert_array_equal(blocks(clips(2, 60), 20), np.repeat(np.arange(24), 5))


def test_blocks_do_not_depend_on_the_order_of_clips():
    names = clips(2, 13)
    order = np.random.default_rng(0).permutation(26)
    np.testing.assert_array_equal(blocks([names[i] for i in order], 20), blocks(names, 20)[order])


def test_a_clip_without_onset_is_one_clear_line():
    with pytest.raises(UserError, match="not named"):
        blocks(["film-one"], 20)


def test_resamples_draw_whole_blocks_and_are_seeded():
    block = blocks(clips(2, 60), 20)
    weights = resample(block, 50, 7)
    np.testing.assert_array_equal(weights, resample(block, 50, 7))
    assert (weights != resample(block, 50, 8)).any()
    assert (weights.reshape(50, 24, 5).std(axis=2) == 0).all()
    assert (weights.sum(axis=1) == 120).all()


def test_one_block_leaves_no_interval():
    low, high = interval(np.ones(10), 1)
    assert np.isnan(low)
    assert np.isnan(high)
    assert not beats(np.ones(3), np.zeros(3), clips(1, 3))


@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [
        (lambda rng, n: rng.normal(size=n), 0.0, 0.93),
        # one side of the tail is short of data with 24 blocks as skewed as this
        (lambda rng, n: rng.exponential(size=n), 1.0, 0.90),
    ],
    ids=["normal", "skewed"],
)
def test_intervals_cover_the_truth(draw, truth, least):
    """Clips that are alike within 20 s: about 95% of intervals hold the true mean."""
    rng = np.random.default_rng(0)
    names = clips(2, 60)
    block = blocks(names, 20)
    runs, covered, narrow = 800, 0, 0
    for seed in range(runs):
        values = 0.7 * draw(rng, 24)[block] + 0.3 * draw(rng, 120)
        low, high = paired_interval(values, np.zeros(120), names, 20, 300, seed)
        covered += low <= truth <= high
        single = rng.integers(120, size=(300, 120))  # what single clips would give
        low, high = np.quantile(values[single].mean(axis=1), [0.025, 0.975])
        narrow += low <= truth <= high
    assert least <= covered / runs <= 0.975
    assert narrow / runs < 0.8  # blocks are needed


@pytest.mark.parametrize(
    ("alike", "least"),
    [(0.0, 0.92), (0.2, 0.92), (0.5, 0.88)],
    ids=["apart", "a little", "much"],
)
@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_intervals_cover_the_truth_where_likeness_does_not_stop_at_a_block(kind, alike, least):
    """Values that follow each other as an AR(1) within a film, which no block's edge cuts.

    `alike` is the correlation of a clip's value with the next one's, 4 s later. What a block shares
    with its neighbours is missed, so intervals are too narrow, and more so the more alike: the
    bounds are what is reached, and docs/evaluation.md says it. On the phantom it is below 0.2.
    """
    rng = np.random.default_rng(0)
    names = clips(2, 60)
    runs, covered, narrow = 800, 0, 0
    for seed in range(runs):
        driven = rng.normal(size=(2, 60))
        driven[:, 1:] *= np.sqrt(1 - alike**2)
        values = lfilter([1.0], [1.0, -alike], driven, axis=1).ravel()
        values, truth = (values, 0.0) if kind == "normal" else (values**2, 1.0)
        low, high = paired_interval(values, np.zeros(120), names, 20, 300, seed)
        covered += low <= truth <= high
        single = rng.integers(120, size=(300, 120))
        low, high = np.quantile(values[single].mean(axis=1), [0.025, 0.975])
        narrow += low <= truth <= high
    assert least <= covered / runs <= 0.975
    if alike == 0.5:
        assert narrow < covered - 0.05 * runs  # single clips miss it all


def test_beats_needs_the_whole_interval():
    rng = np.random.default_rng(1)
    names = clips(2, 60)
    hard = np.repeat(rng.normal(size=24), 5)  # clips that are hard for both
    a = hard + rng.normal(scale=0.2, size=120)
    b = hard + rng.normal(scale=0.2, size=120) - 0.15
    assert beats(a, b, names)
    assert not beats(b, a, names)
    assert not beats(a, a, names)
    # pairing is what sees it: alone, the intervals overlap
    alone = [paired_interval(x, np.zeros(120), names, 20, 1000, 0) for x in (a, b)]
    assert alone[0][0] < alone[1][1]


def test_wins_against_an_equal_are_rare():
    rng = np.random.default_rng(2)
    names = clips(2, 60)
    wins = [beats(*rng.normal(size=(2, 120)), names, samples=200, seed=seed) for seed in range(200)]
    assert np.mean(wins) < 0.06
