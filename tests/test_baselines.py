"""Floors and baselines know train alone, and the ridge is as strong as a ridge can be."""

import numpy as np
import pandas as pd
import pytest
import torch

from llm4brain.align.basis import Basis
from llm4brain.align.reader import BrainReader
from llm4brain.brain.adaptor import PositionAdaptor
from llm4brain.brain.positions import cut
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.errors import UserError
from llm4brain.evaluate.baselines import consensus, constant_caption, nearest, typical_captions
from llm4brain.evaluate.reference import per_clip, reference_systems
from llm4brain.evaluate.references import references_of
from llm4brain.evaluate.retrieval import centred, correlations, retrieval
from llm4brain.evaluate.ridge import (
    FAMILIES,
    PENALTIES,
    PLAIN,
    Form,
    Seen,
    Targets,
    best_ridges,
    fit_ridge,
)
from llm4brain.sections import EncoderSettings

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


VOXELS = np.argwhere(np.ones((5, 3, 2)))
GRID = cut(VOXELS, np.diag([8.0, 8, 8, 1]), 2)
TINY = EncoderSettings(patch_size=2, embed_dim=24, depth=1, num_heads=2, decoder_embed_dim=32)


def tiny_reader(trained_on_labels=0.0):
    """A reader with a linear path and a gate; what labels train in it is drawn at random."""
    torch.manual_seed(0)
    encoder = SCMBM(TINY, GRID, 1)
    encoder.set_linear(torch.randn(30, 3), 1.0)
    basis = Basis.fit(np.random.default_rng(0).normal(size=(20, 12)), 4)
    reader = BrainReader(encoder, PositionAdaptor(GRID, 4), basis, (2, 6)).eval()
    reader.agreement = np.linspace(0, 1, 30, dtype=np.float32)
    for weight in (*reader.adaptor.parameters(), reader.mean):
        weight.data += trained_on_labels * torch.randn_like(weight)
    reader.alpha, reader.power = trained_on_labels, trained_on_labels
    reader.weights = {"shared": trained_on_labels * torch.randn(30, 4)}
    return reader


def say(components, write):
    """An LLM that says what it is shown."""
    return [f"{z.shape} {z.sum():.3f}" for z in write(components)]


def targets_of(train, validation):
    """Tokens (clips, D) as targets: the components are the tokens themselves."""
    centre = train.mean(axis=0)
    held = centred(validation, centre)
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    size = train.shape[1]
    return Targets(train - centre, np.eye(size) - 1 / size, held)


def decode(cohort, captions, repeats="average", reader=None):
    windows, trials, names, tokens, _ = cohort
    generated = pd.DataFrame({"clip_id": names, "caption": [f"video of {n}" for n in names]})
    given = (captions, generated, reader or tiny_reader(), say, repeats, (0, 1))
    return reference_systems(windows, trials, names, tokens, *given)


def train_of(cohort):
    _, trials, _, _, captions = cohort
    return captions[captions["clip_id"].isin(trials.loc[trials["split"] == "train", "clip_id"])]


def test_ridge_recovers_a_planted_linear_map(cohort):
    found = decode(cohort, train_of(cohort))
    scores = correlations(*(found.readings[name] for name in ("ridge", "truth", "norms")))
    clips = [f"film_{4 * i}" for i in range(len(scores))]
    assert retrieval(scores, clips)["top5"].mean() > 90
    assert np.diag(scores).mean() > 0.95
    # every scene of 27 was seen, so the nearest train clip says what happens
    own = dict(cohort[4].groupby("clip_id")["caption"].agg(list))
    said = found.table[found.table["system"] == "ridge"]
    right = [row.text in own[row.clip_id] for row in said.itertuples()]
    assert np.mean(right) > 0.7


def test_ridge_equals_sklearns(cohort):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 1, 15)), rng.normal(size=(40, 4))
    ours = fit_ridge(x[:30], x[30:], targets_of(y[:30], y[30:]), penalties=np.array([0.3]))
    scaled = ours.scaler.transform(x.reshape(40, 15).astype(np.float32))
    level = np.linalg.eigvalsh(scaled[:30] @ scaled[:30].T).mean()
    theirs = Ridge(alpha=0.3 * level).fit(scaled[:30], y[:30]).predict(scaled[30:])
    np.testing.assert_allclose(ours.read(x[30:]) + y[:30].mean(axis=0), theirs, atol=1e-4)


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
    np.testing.assert_array_equal(clean.readings["truth"], spoilt.readings["truth"])


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
        "ridge_plain": "baseline", "ridge_gate": "baseline", "ridge_surprise": "baseline",
        "ridge_llm": "baseline",
        "nearest": "ceiling", "video": "ceiling",
    }  # fmt: skip
    assert set(found.readings) == {*kinds, "truth", "norms"} - {"constant"}
    assert len(set(found.table.loc[found.table["system"] == "constant", "text"])) == 1
    np.testing.assert_array_equal(found.readings["video"], found.readings["truth"])
    again = decode(cohort, train_of(cohort))
    pd.testing.assert_frame_equal(found.table, again.table)
    assert all((found.readings[k] == again.readings[k]).all() for k in found.readings)


def test_the_choice_by_components_is_the_choice_by_tokens():
    """What choosing is computed from gives the correlations of (n x D) readings."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 15)), rng.normal(size=(40, 200)) + 3
    y[:, :15] += x
    gate = rng.uniform(size=15)
    kept = {"scale": False, "gate": gate}
    targets = targets_of(y[:30], y[30:])
    fitted = fit_ridge(x[:30], x[30:], targets, **kept)
    for penalty, found in list(zip(PENALTIES, fitted.validation, strict=True))[::8]:
        one = fit_ridge(x[:30], x[30:], targets, penalties=np.array([penalty]), **kept)
        held = centred(y[30:], y[:30].mean(axis=0))
        truth = np.diag(correlations(centred(one.read(x[30:])), held)).mean()
        assert found == pytest.approx(truth, abs=1e-4)  # the kernel is in float32
    assert fitted.penalty == PENALTIES[np.argmax(fitted.validation)]
    nothing = fit_ridge(0 * x[:30], 0 * x[30:], targets)
    assert not nothing.validation.any()


@pytest.mark.parametrize("planted", ["gate", "surprise"])
def test_ridge_takes_what_helps_and_says_so(planted):
    """Positions that agree alone hold the tokens; or what is predictable drowns them."""
    rng = np.random.default_rng(2)
    tokens = rng.normal(size=(120, 6)).astype(np.float32)
    signal, noise = tokens @ rng.normal(size=(6, 60)), 6 * rng.normal(size=(120, 60))
    agreement, predictable = np.full(60, 0.5, np.float32), 0 * noise
    if planted == "gate":
        agreement = np.repeat([0.9, 0.01], 30).astype(np.float32)
        signal[:, 30:] = 0
    else:
        predictable = 9 * rng.normal(size=(120, 60))
    volume = (signal + noise + predictable).astype(np.float32)[:, None]
    seen = [Seen(volume[part], predictable[part]) for part in (slice(0, 80), slice(80, None))]
    found = best_ridges(*seen, targets_of(tokens[:80], tokens[80:]), agreement)
    form = found["ridge"][0]
    assert form.power > 0 if planted == "gate" else form.alpha >= 0.9
    reached = {name: ridge.validation.max() for name, (_, ridge) in found.items()}
    assert reached["ridge"] == max(reached.values())
    assert reached[f"ridge_{planted}"] > reached["ridge_plain"] + 0.02
    said = "gate at power" if planted == "gate" else "surprise at alpha"
    assert said in form.said


def test_families_hold_what_their_names_say():
    assert set(FAMILIES["ridge"]) >= {f for forms in FAMILIES.values() for f in forms}
    assert {(f.volumes, f.scale) for f in PLAIN} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert all(f.power == f.alpha == 0 for f in FAMILIES["ridge_plain"])
    assert all(f.power and not f.alpha for f in FAMILIES["ridge_gate"])
    assert all(f.alpha and not f.power for f in FAMILIES["ridge_surprise"])
    assert (
        Form(volumes=True, scale=True).said == "all volumes, equal variance, no gate, no surprise"
    )


def test_what_labels_trained_in_the_reader_has_no_influence(cohort):
    clean = decode(cohort, train_of(cohort))
    other = decode(cohort, train_of(cohort), reader=tiny_reader(trained_on_labels=1.0))
    pd.testing.assert_frame_equal(clean.table, other.table)
    assert clean.ridge == other.ridge
    for name, reading in clean.readings.items():
        np.testing.assert_array_equal(reading, other.readings[name])


def test_gate_and_encoder_have_influence(cohort):
    """The test of the test: ridge does take them from the reader."""
    clean = decode(cohort, train_of(cohort))
    gated = tiny_reader()
    gated.agreement = gated.agreement[::-1].copy()
    other = decode(cohort, train_of(cohort), reader=gated)
    assert (clean.readings["ridge_gate"] != other.readings["ridge_gate"]).any()
    assert (clean.readings["ridge_surprise"] == other.readings["ridge_surprise"]).all()
    surprised = tiny_reader()
    surprised.encoder.set_linear(torch.randn(30, 3), 2.0)
    other = decode(cohort, train_of(cohort), reader=surprised)
    assert (clean.readings["ridge_surprise"] != other.readings["ridge_surprise"]).any()
    assert (clean.readings["ridge_plain"] == other.readings["ridge_plain"]).all()


def test_ridge_llm_puts_ridges_reading_into_words(cohort):
    found = decode(cohort, train_of(cohort))
    reading = found.readings["ridge"]
    np.testing.assert_array_equal(found.readings["ridge_llm"], reading)
    said = found.table[found.table["system"] == "ridge_llm"]
    assert len(set(said["text"])) > 1
    assert said["text"].str.startswith("(2, 6) ").all()
    assert said["clip_id"].tolist() == found.clip_ids


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
    x, y = np.ones((3, 2, 2)), np.random.default_rng(0).normal(size=(3, 4))
    with pytest.raises(UserError, match="do not fit"):
        fit_ridge(x, x, targets_of(y[:2], y))


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
    rows, norms = centred(train, centre), np.linalg.norm(centred(train, centre), axis=1)
    np.testing.assert_array_equal(nearest(centred(reading, centre), rows, norms), np.arange(9))
