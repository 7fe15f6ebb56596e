"""What `import llm4brain` gives: estimators of arrays, scores, encoder and decoder."""

import doctest
import importlib

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import llm4brain
from llm4brain.errors import UserError

SAID = {"a": "a dog runs", "b": "a cat sleeps on a mat"}
TRUTH = {"a": ["a dog is running", "the dog runs"], "b": "a cat is asleep on a mat"}


@pytest.mark.parametrize("name", llm4brain.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(llm4brain, name)
    assert name == "__version__" or found.__doc__


@pytest.mark.parametrize(
    "module",
    ["align.estimator", "align.functional", "align.gate", "brain.masked_linear", "evaluate.tool"],
)
def test_examples_of_docstrings_run(module):
    found = importlib.import_module(f"llm4brain.{module}")
    result = doctest.testmod(found, extraglobs={"np": np}, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@parametrize_with_checks([llm4brain.Readout(n_folds=2)])
def test_the_readout_is_an_estimator(estimator, check):
    check(estimator)


def people(seed=0):
    """Two people whose readouts are alike but for noise, three stimuli of 20 samples each."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(12, 3))
    x = rng.normal(size=(120, 12))
    who, stimuli = np.repeat(["01", "02"], 60), np.tile(np.repeat([0, 1, 2], 20), 2)
    y = np.empty((120, 3))
    for name in ("01", "02"):
        own = common + 0.3 * rng.normal(size=common.shape)
        y[who == name] = x[who == name] @ own + 0.5 * rng.normal(size=(60, 3))
    return x, y, who, stimuli


def test_people_are_read_by_their_own_weights_and_strangers_by_what_is_shared():
    x, y, who, stimuli = people()
    readout = llm4brain.Readout().fit(x, y, subjects=who, stimuli=stimuli)
    assert set(readout.coef_) == {"01", "02", "shared"}
    assert 0 < readout.coupling_ <= 1
    own = readout.predict(x[:5], who[:5])
    assert own == pytest.approx(
        (x[:5] - readout.mean_) @ readout.coef_["01"] + readout.target_mean_
    )
    assert readout.predict(x[:5]) == pytest.approx(readout.predict(x[:5], ["99"] * 5))


def test_a_sample_is_read_out_of_fold_without_its_stimulus():
    x, y, who, stimuli = people()
    given = {"coupling": 0.5, "penalty": 0.1, "n_folds": 3}
    whole = llm4brain.Readout(**given).fit(x, y, subjects=who, stimuli=stimuli)
    rows = stimuli == 1
    shuffled = y.copy()
    shuffled[rows] = y[rows][::-1]  # the mean stays
    other = llm4brain.Readout(**given).fit(x, shuffled, subjects=who, stimuli=stimuli)
    assert other.out_of_fold_[rows] == pytest.approx(whole.out_of_fold_[rows])
    assert other.out_of_fold_[~rows] != pytest.approx(whole.out_of_fold_[~rows])


def test_captions_are_scored_from_dictionaries():
    found = llm4brain.score_captions(SAID, TRUTH)
    assert found["n_clips"] == 2
    assert 0 < found["bleu1"] <= 100
    assert "cider_low" not in found
    assert {"cider_low", "cider_high"} <= set(llm4brain.score_captions(SAID, TRUTH, 50))
    with pytest.raises(UserError, match="predictions and references"):
        llm4brain.score_captions({"a": "a dog"}, TRUTH)
