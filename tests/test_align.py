"""The readout starts at ridge; the CLIP loss knows duplicates; domain members adapt."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn import functional as F

from llm4brain.align.contrast import ClipLoss, same_clips
from llm4brain.align.domain import Adversarial, Batch, Coral, NoAdaptation
from llm4brain.align.readout import (
    PENALTIES,
    Basis,
    Spectrum,
    coupled,
    fit_readout,
    folds_by_stimulus,
    primal,
)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    n, features, rank = 90, 40, 5
    x = rng.normal(size=(n, features))
    shared = rng.normal(size=(features, rank))
    subjects = np.repeat(["01", "02", "03"], n // 3)
    y = x @ shared + 0.5 * rng.normal(size=(n, rank))
    return x, y, subjects


def test_the_readout_is_ridge(data):
    x, y, _subjects = data
    kernel = x @ x.T
    penalty = PENALTIES[9]
    dual = Spectrum.of(kernel).dual(y, penalty)
    alpha = penalty * np.trace(kernel) / len(x)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(x, y)
    assert np.allclose(x.T @ dual, ridge.coef_.T)


def test_coupling_one_is_pooled_and_zero_is_each_subject_alone(data):
    x, y, subjects = data
    kernel = x @ x.T
    own = subjects == "02"
    alone = Spectrum.of(coupled(kernel, subjects, subjects, 0.0)).dual(y, 0.1)
    size = np.trace(kernel) / len(x)
    ridge = Ridge(alpha=0.1 * size, fit_intercept=False).fit(x[own], y[own])
    weights = primal(alone, x, subjects, 0.0)
    assert np.allclose(weights["02"], ridge.coef_.T)
    pooled = Spectrum.of(coupled(kernel, subjects, subjects, 1.0)).dual(y, 0.1)
    weights = primal(pooled, x, subjects, 1.0)
    assert np.allclose(weights["01"], weights["03"])
    assert np.allclose(weights["01"], weights["shared"])


def test_primal_and_dual_read_the_same(data):
    x, y, subjects = data
    for coupling in (0.25, 0.5):
        kernel = coupled(x @ x.T, subjects, subjects, coupling)
        dual = Spectrum.of(kernel).dual(y, 0.1)
        weights = primal(dual, x, subjects, coupling)
        read = np.stack([row @ weights[s] for row, s in zip(x, subjects, strict=True)])
        assert np.allclose(read, kernel @ dual)


def test_out_of_fold_readings_never_saw_their_stimulus(data):
    x, y, subjects = data
    folds = np.arange(len(x)) % 3
    args = (subjects, y, folds, x[:9] @ x.T, subjects[:9], y[:9])
    fitted = fit_readout(x @ x.T, *args)
    poisoned = y.copy()
    poisoned[folds == 1] = 1e3
    again = Spectrum.of(
        coupled(x @ x.T, subjects, subjects, fitted.coupling)[np.ix_(folds != 1, folds != 1)]
    ).dual(poisoned[folds != 1], fitted.penalty)
    assert np.allclose(fitted.fold_dual[1, folds != 1], again)
    assert not fitted.fold_dual[1, folds == 1].any()
    # With all else chosen as before, a fold's readings do not move with the fold's own targets.
    kernel = coupled(x @ x.T, subjects, subjects, fitted.coupling)
    own = fitted.out_of_fold[folds == 1]
    assert np.allclose(own, kernel[np.ix_(folds == 1, folds != 1)] @ again)
    within = kernel[folds == 1] @ Spectrum.of(kernel).dual(poisoned, fitted.penalty)
    assert not np.allclose(own, within)


def test_folds_are_whole_stimuli():
    stimuli = np.repeat(["a", "b", "c", "d", "e"], 4)
    folds = folds_by_stimulus(stimuli, 3)
    assert all(len(set(folds[stimuli == s])) == 1 for s in "abcde")
    assert set(folds) == {0, 1, 2}


def test_basis_reads_and_writes():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 12)) + 3
    basis = Basis.fit(tokens, rank=4)
    assert np.allclose(basis.write(basis.read(tokens)), tokens, atol=1e-4)


def test_duplicates_are_positives_not_negatives():
    video = torch.eye(4)[[0, 1, 2, 2]]
    same = same_clips(video, 0.95)
    assert same[2, 3]
    assert not same[0, 1]
    # Two brain readings of the same thing, a little apart: a loss that takes them for negatives
    # pushes each from the other's video; one that knows better is content.
    push = {}
    for name, positives in {"told": same, "untold": torch.eye(4, dtype=torch.bool)}.items():
        brain = video.clone()
        brain[2, 0], brain[3, 1] = 0.1, 0.1
        shared = torch.nn.Parameter(video.clone())
        ClipLoss()(brain, shared, positives).backward()
        push[name] = float((shared.grad[2] - shared.grad[3]).norm())
    assert push["told"] < 0.1 * push["untold"]


def _batch(reading, subject):
    return Batch(torch.zeros(len(reading), 1, 1), reading, subject, lambda w: reading)


def test_coral_is_zero_for_equal_moments_only():
    x = torch.randn(20, 3)
    subject = torch.arange(2).repeat_interleave(20)
    same = Coral()(_batch(torch.cat([x, x]), subject))
    other = Coral()(_batch(torch.cat([x, 2 * x + 1]), subject))
    assert same < 0.05 * other


def test_adversary_pushes_readings_to_where_it_cannot_tell_them():
    torch.manual_seed(0)
    subject = torch.arange(2).repeat_interleave(32)
    offset = torch.nn.Parameter(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]))
    base = torch.randn(64, 2)
    member = Adversarial(2, 2)
    optimizer = torch.optim.Adam([offset, *member.parameters()], lr=0.02)
    for _ in range(300):
        member(_batch(base + offset[subject], subject)).backward()
        optimizer.step()
        optimizer.zero_grad()
    gap = F.normalize(base + offset[subject], dim=1)
    gap = gap[:32].mean(0) - gap[32:].mean(0)
    assert gap.norm() < 0.9  # 1.7 at the start


def test_no_adaptation_is_zero():
    assert NoAdaptation()(_batch(torch.ones(3, 2), torch.zeros(3))) == 0
