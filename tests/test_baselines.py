"""Floors and baselines know train alone, and the ridge is as strong as a ridge can be."""

import numpy as np
import pandas as pd
import pytest

from llm4brain.errors import UserError
from llm4brain.evaluate.baselines import (
    consensus,
    constant_caption,
    fit_ridge,
    nearest,
    typical_captions,
)
from llm4brain.evaluate.reference import per_clip, reference_systems
from llm4brain.evaluate.references import references_of
from llm4brain.evaluate.retrieval import correlations, retrieval

WHO, WHAT, WHERE = ("man", "dog", "robot"), ("runs", "sleeps", "sings"), ("park", "snow", "street")


@pytest.fixture
def cohort():
    """A subject whose BOLD is a linear image of the video tokens, with noise."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(3, size=(90, 3))
    code = np.eye(3)[scenes].reshape(90, 9)
    tokens = (code @ rng.normal(size=(9, 2 * 6)) + 5).astype(np.float32)
    split = np.repeat(["train", "validation", "test"], [60, 15, 15])
    names = [f"film-{1 + i // 15:02d}_{i % 15 * 4:06.1f}" for i in range(90)]
    forward = rng.normal(size=(12, 4 * 30))
    rows, windows = [], []
    for repeat in (1, 2):
        for i, name in enumerate(names):
            rows.append(
                (name, name.split("_")[0] + ".mp4", i % 15 * 4.0, split[i], "01", repeat, 1.0)
            )
            windows.append(tokens[i] @ forward + rng.normal(scale=2, size=120))
    columns = ["clip_id", "stim_file", "onset", "split", "run", "repeat", "valid"]
    trials = pd.DataFrame(rows, columns=columns)
    texts = [f"a {WHO[a]} {WHAT[b]} in the {WHERE[c]}" for a, b, c in scenes]
    captions = pd.DataFrame(
        [(n, t + end) for n, t in zip(names, texts, strict=True) for end in (".", " today.")],
        columns=["clip_id", "caption"],
    )
    array = np.stack(windows).reshape(180, 4, 30).astype(np.float16)
    return array, trials, names, tokens.reshape(90, 2, 6), captions


def decode(cohort, captions, repeats="average"):
    windows, trials, names, tokens, _ = cohort
    generated = pd.DataFrame({"clip_id": names, "caption": [f"video of {n}" for n in names]})
    return reference_systems(windows, trials, names, tokens, captions, generated, repeats, (0, 1))


def train_of(cohort):
    _, trials, _, _, captions = cohort
    return captions[captions["clip_id"].isin(trials.loc[trials["split"] == "train", "clip_id"])]


def test_ridge_recovers_a_planted_linear_map(cohort):
    found = decode(cohort, train_of(cohort))
    ridge, truth = found.readings["ridge"], found.readings["truth"]
    clips = [f"film_{4 * i}" for i in range(len(truth))]
    scored = retrieval(correlations(ridge, truth, found.readings["centre"]), clips)
    assert scored["top5"].mean() > 90
    fit = [np.corrcoef(a, b)[0, 1] for a, b in zip(ridge, truth, strict=True)]
    assert np.mean(fit) > 0.95
    # every scene of 27 was seen, so the nearest train clip says what happens
    own = dict(cohort[4].groupby("clip_id")["caption"].agg(list))
    said = found.table[found.table["system"] == "ridge"]
    right = [row.text in own[row.clip_id] for row in said.itertuples()]
    assert np.mean(right) > 0.7


def test_ridge_equals_sklearns(cohort):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 1, 15)), rng.normal(size=(40, 4))
    ours = fit_ridge(x[:30], y[:30], x[30:], y[30:], penalties=np.array([0.3]))
    scaled = ours.scaler.transform(x.reshape(40, 15).astype(np.float32))
    level = np.linalg.eigvalsh(scaled[:30] @ scaled[:30].T).mean()
    theirs = Ridge(alpha=0.3 * level).fit(scaled[:30], y[:30]).predict(scaled[30:])
    np.testing.assert_allclose(ours.read(x[30:]), theirs, atol=1e-4)


def test_no_captions_of_test_are_needed_or_read(cohort):
    """Poisoned test captions, validation captions and test BOLD change no text they must not."""
    captions = cohort[4]
    clean = decode(cohort, train_of(cohort))
    splits = cohort[1].drop_duplicates("clip_id").set_index("clip_id")["split"]
    poisoned = captions.copy()
    poisoned.loc[poisoned["clip_id"].map(splits) != "train", "caption"] = "POISON"
    pd.testing.assert_frame_equal(clean.table, decode(cohort, poisoned).table)
    windows = cohort[0].copy()
    windows[(cohort[1]["split"] == "test").to_numpy()] = 7
    spoilt = decode((windows, *cohort[1:]), train_of(cohort))
    kept = ~clean.table["system"].str.startswith("ridge")
    pd.testing.assert_frame_equal(clean.table[kept], spoilt.table[kept])
    assert clean.ridge == spoilt.ridge
    np.testing.assert_array_equal(clean.readings["centre"], spoilt.readings["centre"])


def test_test_videos_reach_only_truth_and_ceiling(cohort):
    tokens = cohort[3].copy()
    tokens[75:] = -3
    clean = decode(cohort, train_of(cohort))
    spoilt = decode((*cohort[:3], tokens, cohort[4]), train_of(cohort))
    kept = ~clean.table["system"].isin(["video", "nearest"])
    pd.testing.assert_frame_equal(clean.table[kept], spoilt.table[kept])
    np.testing.assert_array_equal(clean.readings["ridge"], spoilt.readings["ridge"])


def test_systems_kinds_and_readings(cohort):
    found = decode(cohort, train_of(cohort))
    kinds = dict(found.table[["system", "kind"]].drop_duplicates().to_numpy())
    assert kinds == {
        "constant": "floor", "random": "floor", "ridge": "baseline", "ridge_single": "baseline",
        "nearest": "ceiling", "video": "ceiling",
    }  # fmt: skip
    assert set(found.readings) == {*kinds, "truth", "centre"} - {"constant"}
    assert len(set(found.table.loc[found.table["system"] == "constant", "text"])) == 1
    np.testing.assert_array_equal(found.readings["video"], found.readings["truth"])
    again = decode(cohort, train_of(cohort))
    pd.testing.assert_frame_equal(found.table, again.table)
    assert all((found.readings[k] == again.readings[k]).all() for k in found.readings)


def test_single_reads_one_valid_showing_of_a_test_clip(cohort):
    windows, trials, *_ = cohort
    trials = trials.copy()
    first = np.flatnonzero((trials["split"] == "test") & (trials["repeat"] == 1))
    trials.loc[first[0], "valid"] = 0.2
    got, table = per_clip(windows, trials, "single")
    test = (table["split"] == "test").to_numpy()
    assert (table["trials"][test] == 1).all()
    assert (table["trials"][~test] == 2).all()
    expected = [first[0] + 90, *first[1:]]  # the second showing, where the first is invalid
    np.testing.assert_allclose(got[test], windows[expected].astype(np.float32))


def test_missing_and_empty_captions_are_one_clear_line(cohort):
    train = train_of(cohort)
    with pytest.raises(UserError, match="no caption for 1 clips, such as film-01_0000"):
        decode(cohort, train[train["clip_id"] != "film-01_0000.0"])
    with pytest.raises(UserError, match="empty caption for film-01_0000"):
        references_of(train.assign(caption=" "), ["film-01_0000.0"])
    with pytest.raises(UserError, match="no tokens for 1 clips"):
        decode((*cohort[:2], cohort[2][:-1], cohort[3][:-1], cohort[4]), train)
    with pytest.raises(UserError, match="do not fit"):
        fit_ridge(np.ones((3, 2, 2)), np.ones((2, 4)), np.ones((3, 2, 2)), np.ones((3, 4)))


def test_consensus_is_cider(cohort):
    """Against pycocoevalcap's CIDEr-D, with no word said twice (the clipping is left out)."""
    from pycocoevalcap.cider.cider import Cider

    own = dict(cohort[4].groupby("clip_id")["caption"].agg(lambda c: [t.strip(".") for t in c]))
    references = list(own.values())
    said = sorted({c for r in references for c in r})[:5]
    ours = consensus(said, references)
    gts = dict(enumerate(references))
    for caption, value in zip(said, ours, strict=True):
        theirs, _ = Cider().compute_score(gts, {k: [caption] for k in gts})
        assert value == pytest.approx(theirs / 10, rel=1e-6)


def test_the_constant_is_what_most_clips_say():
    references = [["a dog runs", "a dog is running"]] * 3 + [["two cats"]] * 2 + [["a dog runs"]]
    assert constant_caption([*references, ["nothing"], ["else"]]).startswith("a dog")


def test_the_typical_caption_agrees_with_the_others():
    assert typical_captions([["x y z", "a red dog", "the red dog"], ["one"]]) == [
        "a red dog",
        "one",
    ]


def test_nearest_is_by_correlation():
    train = np.random.default_rng(0).normal(size=(9, 30)) + 2
    centre = train.mean(axis=0)
    # half as far from the centre is still the same direction
    reading = centre + 0.5 * (train - centre)
    np.testing.assert_array_equal(nearest(reading, train, centre), np.arange(9))
