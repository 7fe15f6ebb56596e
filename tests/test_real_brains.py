"""Masked models of arrays: planted noise is taken away, and so is that of real brains.

Real BOLD is not a part of the repository: `../shared/data/partly_cloudy`, or the folder that
LLM4BRAIN_REAL_BOLD names. Of its people, 70 to 129 are the held-out ones of
`benchmarks/real_brains.py` and are not read here.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from sklearn.utils.estimator_checks import parametrize_with_checks

from llm4brain.align.gate import AgreementGate
from llm4brain.brain.estimator import MaskedBrainModel
from llm4brain.brain.masked_linear import MaskedLinearModel

FOLDER = Path(os.environ.get("LLM4BRAIN_REAL_BOLD", ROOT.parent / "shared/data/partly_cloudy"))
HERE = (FOLDER / "bold.npz").is_file()
POSITIONS, TIME, PEOPLE = 24, 60, 8
SMALL = {"window": 10, "embed_dim": 24, "decoder_embed_dim": 32, "batch_size": 8, "noise": 0.3}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def real_brains(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import real_brains

    return real_brains


@pytest.fixture(scope="module")
def coordinates():
    return np.random.default_rng(1).uniform(-60, 60, (POSITIONS, 3)).astype(np.float32)


def planted(seed, people=PEOPLE, response=0.3):
    """A film's response, the same for all, under noise of five components and a little more."""
    noise, film = np.random.default_rng(seed), np.random.default_rng(7)
    loading = film.normal(size=(5, POSITIONS))
    shared = response * film.normal(size=(TIME, POSITIONS))
    x = shared + noise.normal(size=(people, TIME, 5)) @ loading
    x += 0.3 * noise.normal(size=(people, TIME, POSITIONS))
    return (x / x.std((0, 1))).astype(np.float32), shared


@parametrize_with_checks([MaskedLinearModel(), AgreementGate()])
def test_estimators_keep_scikit_learns_contract(estimator, check):
    check(estimator)


def test_the_surprise_tells_the_moment_where_the_bold_does_not(real_brains):
    train, test = planted(0)[0], planted(1)[0]
    model = MaskedLinearModel(noise=0.05, alpha=0.9).fit(train.reshape(-1, POSITIONS))
    rows = test.reshape(-1, POSITIONS)
    assert model.score(rows) > 0.5
    mean = train.mean(0)
    plain = real_brains.identify(test, mean)[0].mean()
    surprise = model.transform(rows).reshape(test.shape)
    told = real_brains.identify(surprise, model.transform(mean))[0].mean()
    assert told > plain + 10


def test_own_volumes_predict_a_person_better_than_the_group_does():
    rng = np.random.default_rng(3)
    group = rng.normal(size=(400, 4)) @ rng.normal(size=(4, POSITIONS))
    group += rng.normal(size=group.shape)
    loading = rng.normal(size=(4, POSITIONS))  # of this person alone
    person = rng.normal(size=(400, 4)) @ loading + rng.normal(size=(400, POSITIONS))
    model = MaskedLinearModel(own_share=0.5).fit(group)
    assert model.score(person[200:], own=person[:200]) > model.score(person[200:]) + 0.2


def test_without_a_share_own_volumes_change_nothing():
    x = planted(0)[0].reshape(-1, POSITIONS)
    model = MaskedLinearModel().fit(x)
    assert np.array_equal(model.predict(x), model.predict(x, own=x[:20]))


def test_the_network_starts_at_the_linear_model(coordinates):
    train, test = planted(0)[0], planted(1, people=2)[0]
    model = MaskedBrainModel(n_epochs=0, **SMALL).fit(train, coordinates=coordinates)
    patches = model.network_.patch_of.numpy()
    linear = MaskedLinearModel(noise=SMALL["noise"])
    linear.fit(train.reshape(-1, POSITIONS), patches=patches)
    expected = linear.predict(test.reshape(-1, POSITIONS)).reshape(test.shape)
    assert np.allclose(model.predict(test), expected, atol=1e-4)
    assert np.array_equal(model.predict(test), model.predict(test, learned=False))


def test_training_keeps_the_best_epoch_and_is_the_same_twice(coordinates):
    train, test = planted(0)[0], planted(1, people=2)[0]
    model = MaskedBrainModel(n_epochs=2, **SMALL).fit(train, coordinates=coordinates)
    again = MaskedBrainModel(n_epochs=2, **SMALL).fit(train, coordinates=coordinates)
    assert [h["epoch"] for h in model.history_] == [0, 1, 2]
    assert np.array_equal(model.predict(test), again.predict(test))
    assert model.transform(test).shape == test.shape
    best = max(h["r2"] for h in model.history_)
    assert best >= model.history_[0]["r2"]


def test_one_person_s_volumes_will_do_and_wrong_shapes_are_told(coordinates):
    volumes = planted(0)[0].reshape(-1, POSITIONS)
    model = MaskedBrainModel(n_epochs=1, **SMALL).fit(volumes)
    assert model.predict(volumes).shape == volumes.shape
    with pytest.raises(ValueError, match="coordinates"):
        MaskedBrainModel().fit(volumes, coordinates=coordinates[:3])
    with pytest.raises(ValueError, match="24"):
        model.predict(volumes[:, :5])


@pytest.mark.skipif(not HERE, reason=f"no real BOLD in {FOLDER} (shared/data/README.md)")
def test_real_people_are_told_better_by_their_surprise(real_brains):
    """Of persons 0 to 13 alone: 10 to fit, 4 to read."""
    bold, mm = real_brains.read_people(FOLDER, 0, 14)
    assert bold.shape == (14, 380, 268)
    network = {"n_components": 300, "n_epochs": 1, "window": 19, "embed_dim": 24}
    found = real_brains.evaluate(bold[:10], bold[10:], mm, network)
    top = found[found.measure == "top1"].set_index(["pattern", "gate"])["mean"]
    assert top["plain", False] > 10 * real_brains.CHANCE
    assert top["SC-MBM", True] > top["plain", False] + 5
    r2 = found[found.measure == "r2"].set_index("pattern")["mean"]
    assert r2["SC-MBM"] > r2["linear"] - 0.001  # it starts there, and was kept on other people
    assert r2["SC-MBM, own volumes"] > r2["SC-MBM"] + 0.02
