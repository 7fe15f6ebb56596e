"""Components stand for tokens: the same correlations, ties and flat rows, from mapped files."""

import numpy as np
import pytest

from llm4brain.align import basis as module
from llm4brain.align.basis import Basis, Space
from llm4brain.errors import UserError
from llm4brain.evaluate.decoded import read_readings, write_readings
from llm4brain.evaluate.retrieval import centred, correlations, credit
from llm4brain.io import Arrays, write_arrays


@pytest.fixture
def tokens(monkeypatch):
    """(90, 5, 40) tokens of falling variance, read in blocks of a few columns."""
    monkeypatch.setattr(module, "BLOCK", 2**13)
    rng = np.random.default_rng(0)
    made = rng.normal(size=(90, 30)) * np.geomspace(5, 0.05, 30) @ rng.normal(size=(30, 200)) + 2
    return (made + 0.01 * rng.normal(size=made.shape)).astype(np.float32).reshape(90, 5, 40)


def test_the_basis_is_that_of_a_singular_value_decomposition(tokens, tmp_path):
    write_arrays(tmp_path / "video.safetensors", {"video_tokens": tokens})
    rows = np.arange(60)
    basis = Basis.fit(Arrays(tmp_path / "video.safetensors").mapped("video_tokens"), 20, rows)
    train = tokens[rows].reshape(60, -1).astype(np.float64)
    values, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[1:]
    np.testing.assert_allclose(basis.scale, values[:20] / np.sqrt(59), rtol=1e-6)
    turned = basis.axes @ axes[:20].T
    np.testing.assert_allclose(np.abs(turned), np.eye(20), atol=1e-6)
    largest = np.abs(basis.axes).argmax(1)
    assert (basis.axes[np.arange(20), largest] > 0).all()
    found = basis.read(tokens, np.arange(60, 90))
    expected = (tokens[60:].reshape(30, -1) - train.mean(0)) @ axes[:20].T * np.diag(turned)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_clips_that_are_few_or_alike_have_few_components(tokens):
    assert len(Basis.fit(tokens[:4], 20).axes) == 3
    assert len(Basis.fit(np.repeat(tokens[:4], 5, axis=0), 20).axes) == 3
    for alike in (tokens[:1], np.repeat(tokens[:1], 5, axis=0)):
        with pytest.raises(UserError, match="equal video tokens"):
            Basis.fit(alike, 20)


def test_correlations_of_components_are_those_of_tokens(tokens):
    basis, rng = Basis.fit(tokens, 20, np.arange(60)), np.random.default_rng(1)
    weights = rng.uniform(size=20).astype(np.float32)
    components = basis.read(tokens[60:]) + rng.normal(size=(30, 20)).astype(np.float32)
    components[3] = 0  # flat: a reading that is the centre
    components[5] = components[4]
    tokens[70] = tokens[71]  # two clips that nothing tells apart
    space = Space.of(basis)
    truth, norms = space.truth(tokens, np.arange(60, 90))
    scores = correlations(space.coordinates(components * weights), truth, norms)
    written = (components * weights).astype(np.float64) @ basis.axes
    rows = [centred(written), centred(tokens[60:].reshape(30, -1), basis.mean)]
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(np.corrcoef(*rows)[:30, 30:])
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert not scores[3].any()
    for k in (1, 5):
        np.testing.assert_allclose(credit(scores, k), credit(expected, k))


def test_an_axis_of_equal_numbers_has_no_direction():
    axes = np.stack([np.full(16, 0.25), np.repeat([0.25, -0.25], 8)]).astype(np.float32)
    space = Space.of(Basis(np.zeros(16), axes, np.ones(2), np.ones(2)))
    assert space.coordinates(np.eye(2)).shape == (2, 1)
    assert not space.coordinates(np.array([[3.0, 0.0]])).round(6).any()


def test_clips_as_readings_find_themselves_though_the_axes_leave_out_much(tokens):
    basis = Basis.fit(tokens, 3, np.arange(60))
    rows = np.arange(60, 90)
    truth, norms = Space.of(basis).truth(tokens, rows, whole=True)
    found = correlations(truth, truth, norms)
    whole = centred(tokens[rows].reshape(30, -1), basis.mean)
    np.testing.assert_allclose(found, np.corrcoef(whole), atol=1e-6)


def test_equal_readings_are_stored_once(tmp_path):
    rng = np.random.default_rng(0)
    ridge, truth = rng.normal(size=(9, 4)), rng.normal(size=(9, 6))
    arrays = {"ridge": ridge, "ridge_llm": ridge.copy(), "truth": truth, "video": truth}
    write_readings(tmp_path / "r.safetensors", arrays, {"clip_id": ["a"]})
    assert Arrays(tmp_path / "r.safetensors").names == ["ridge", "truth"]
    found, meta = read_readings(tmp_path / "r.safetensors")
    assert meta["clip_id"] == ["a"]
    assert found.keys() == arrays.keys()
    assert all((found[name] == arrays[name]).all() for name in arrays)
