"""The readout starts at ridge; the CLIP loss knows duplicates; domain members adapt."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn import functional as F

from llm4brain.align.basis import Basis
from llm4brain.align.contrast import ClipLoss, same_clips
from llm4brain.align.domain import Adversarial, Batch, Coral, SelfSupervised, losses
from llm4brain.align.functional import SharedResponse
from llm4brain.align.gate import AgreementGate, gate_weights, pair_agreement, smooth, smooth_weights
from llm4brain.align.readout import (
    PENALTIES,
    coupled,
    fit_readout,
    folds_by_stimulus,
    primal,
    reciprocal_rank,
    ridge_dual,
    signal_to_noise,
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
    dual = ridge_dual(kernel, y, penalty)
    alpha = penalty * np.trace(kernel) / len(x)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(x, y)
    assert np.allclose(x.T @ dual, ridge.coef_.T)


def test_coupling_one_is_pooled_and_zero_is_each_subject_alone(data):
    x, y, subjects = data
    kernel = x @ x.T
    own = subjects == "02"
    alone = ridge_dual(coupled(kernel, subjects, subjects, 0.0), y, 0.1)
    size = np.trace(kernel) / len(x)
    ridge = Ridge(alpha=0.1 * size, fit_intercept=False).fit(x[own], y[own])
    weights = primal(alone, x, subjects, 0.0)
    assert np.allclose(weights["02"], ridge.coef_.T)
    pooled = ridge_dual(coupled(kernel, subjects, subjects, 1.0), y, 0.1)
    weights = primal(pooled, x, subjects, 1.0)
    assert np.allclose(weights["01"], weights["03"])
    assert np.allclose(weights["01"], weights["shared"])


def test_primal_and_dual_read_the_same(data):
    x, y, subjects = data
    for coupling in (0.25, 0.5):
        kernel = coupled(x @ x.T, subjects, subjects, coupling)
        dual = ridge_dual(kernel, y, 0.1)
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
    # With all else chosen as before, a fold's readings do not move with the fold's own targets.
    kernel = coupled(x @ x.T, subjects, subjects, fitted.coupling)
    rest = folds != 1
    again = ridge_dual(kernel[np.ix_(rest, rest)], poisoned[rest], fitted.penalty)
    own = fitted.out_of_fold[folds == 1]
    assert np.allclose(own, kernel[np.ix_(folds == 1, rest)] @ again)
    within = kernel[folds == 1] @ ridge_dual(kernel, poisoned, fitted.penalty)
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


def test_components_weigh_by_what_brains_tell_of_them():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 20))
    told = np.repeat([0.9, 0.3, 0.0], [5, 5, 10])
    read = truth * told + 0.6 * rng.normal(size=truth.shape)
    weights = signal_to_noise(read, truth)
    assert weights[:5].min() > 2 * weights[5:10].max()
    assert weights[5:10].min() > 2 * weights[10:].max()
    assert np.linalg.norm(read * weights) == pytest.approx(np.linalg.norm(read), rel=1e-5)
    assert reciprocal_rank(read * weights, truth) > reciprocal_rank(read, truth)
    assert reciprocal_rank(truth, truth) == 1


# -- the gate

FILM = 80  # moments


def responses(people, showings, seed=0):
    """Two positions respond to the film, alike in all people; two do not."""
    rng = np.random.default_rng(seed)
    film = rng.normal(size=(FILM, 2)) @ np.array([[1.0, 1, 0, 0], [1, -1, 0, 0]])
    rows = [(s, m, r) for s in people for r in range(showings) for m in range(FILM)]
    who, moments, shown = (np.array(column) for column in zip(*rows, strict=True))
    return film[moments] + rng.normal(size=(len(rows), 4)), who, moments, shown


def gate_of(people, showings, **settings):
    x, who, moments, shown = responses(people, showings)
    gate = AgreementGate(smooth_mm=0, **settings)
    return gate.fit(x, subjects=who, moments=moments, showings=shown)


def test_agreement_is_the_mean_correlation_of_pairs():
    x, who, moments, _ = responses("abc", 1)
    series = np.stack([x[who == s] for s in "abc"])
    pairs = [(0, 1), (0, 2), (1, 2)]
    for v in range(4):
        expected = [np.corrcoef(series[i, :, v], series[j, :, v])[0, 1] for i, j in pairs]
        assert pair_agreement(x, who, moments)[v] == pytest.approx(np.mean(expected), abs=1e-4)
    assert pair_agreement(x[who == "a"], who[who == "a"], moments[who == "a"]) is None


@pytest.mark.parametrize(
    ("people", "showings", "rests_on"),
    [("abc", 1, ("people",)), ("a", 3, ("showings",)), ("abc", 2, ("showings", "people"))],
)
def test_the_gate_rests_on_people_on_showings_or_on_both(people, showings, rests_on):
    gate = gate_of(people, showings)
    assert gate.rests_on_ == rests_on
    assert gate.agreement_[:2].min() > 0.4
    assert gate.agreement_[2:].max() < 0.25
    assert np.square(gate.weights_).mean() == pytest.approx(1, rel=1e-5)


def test_with_one_person_and_no_repeats_the_gate_is_off():
    gate = gate_of("a", 1)
    assert gate.rests_on_ == ()
    assert np.array_equal(gate.agreement_, np.ones(4))
    assert np.array_equal(gate.weights_, np.ones(4))


def test_the_gate_s_power_and_where_nobody_agrees():
    assert np.array_equal(gate_weights(np.array([0.1, 0.4], np.float32), 0), np.ones(2))
    assert np.array_equal(gate_weights(np.zeros(3, np.float32), 2), np.ones(3))
    weights = gate_weights(np.array([0.1, 0.4], np.float32), 2)
    assert weights[1] / weights[0] == pytest.approx(16, rel=1e-4)


def test_smoothing_is_a_gaussian_mean_over_those_with_a_place():
    place = np.array([[0.0, 0, 0], [8, 0, 0], [100, 0, 0], [np.nan] * 3])
    found = smooth(np.array([[1.0, 0, 5, 7], [0, 2, 0, 0]]), place, 8.0)
    near = np.exp(-0.5)
    assert found[0] == pytest.approx([1 / (1 + near), near / (1 + near), 5, 7])
    assert found[1] == pytest.approx([2 * near / (1 + near), 2 / (1 + near), 0, 0])


def test_smoothed_weights_read_raw_rows_as_the_weights_read_smoothed_ones():
    rng = np.random.default_rng(0)
    place, rows, weights = rng.normal(0, 5, (30, 3)), rng.normal(size=(4, 30)), rng.normal(size=30)
    place[3] = np.nan
    raw = rows @ smooth_weights(weights[:, None], place, 4.0)
    assert raw[:, 0] == pytest.approx(smooth(rows, place, 4.0) @ weights, abs=1e-5)


# -- the space that people's responses share


def shared_space(new_moments):
    rng = np.random.default_rng(1)
    film = rng.normal(size=(120, 3))
    own = [film @ rng.normal(size=(3, 30)) + 0.5 * rng.normal(size=(120, 30)) for _ in range(3)]
    x, who = np.concatenate(own), np.repeat(list("abc"), 120)
    names = np.array([f"m{i:03d}" for i in range(120)])
    space = SharedResponse(n_components=3, penalty=0.1)
    space.fit(x, subjects=who, moments=np.tile(names, 3))
    new = film @ rng.normal(size=(3, 30)) + 0.5 * rng.normal(size=(120, 30))
    way = space.way_of(new[:new_moments], names[:new_moments])
    # moments that the way was not learned from, at the coordinates of people who saw them
    found, expected = new[80:] @ way, space.coordinates_[80:]
    return np.mean([np.corrcoef(found[:, k], expected[:, k])[0, 1] for k in range(3)])


def test_a_new_person_is_mapped_into_the_shared_space():
    """Anatomy says nothing here: each person's code is a draw of its own."""
    assert shared_space(80) > 0.8
    assert shared_space(80) > shared_space(0) + 0.5  # the mean of the others' ways


def test_moments_that_nobody_else_saw_are_not_used():
    rng = np.random.default_rng(0)
    x, names = rng.normal(size=(40, 10)), np.array([f"m{i}" for i in range(20)])
    space = SharedResponse(n_components=2)
    space.fit(x, subjects=np.repeat([0, 1], 20), moments=np.tile(names, 2))
    new, strange = rng.normal(size=(8, 10)), np.array([f"n{i}" for i in range(4)])
    both = space.way_of(new, [*names[:4], *strange])
    assert np.array_equal(both, space.way_of(new[:4], names[:4]))
    assert np.array_equal(space.way_of(new[4:], strange), np.mean([*space.maps_.values()], axis=0))


# -- losses of domain adaptation


def _batch(reading, subject):
    return Batch(reading, subject)


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


def test_two_views_that_are_read_alike_cost_nothing():
    x = torch.randn(6, 3)
    subject = torch.zeros(6)
    assert SelfSupervised()(Batch(x, subject, 2 * x)) == pytest.approx(0, abs=1e-6)
    assert SelfSupervised()(Batch(x, subject, -x)) == pytest.approx(2, abs=1e-6)


def test_no_adaptation_and_the_gate_have_no_loss():
    batch = _batch(torch.ones(3, 2), torch.zeros(3))
    for methods in ((), ("gate",)):
        assert losses(methods, 2, 1)(batch) == 0
        assert not list(losses(methods, 2, 1).parameters())
    both = losses(("gate", "coral", "adversarial"), 2, 1)
    assert [type(part) for part in both.parts] == [Coral, Adversarial]
