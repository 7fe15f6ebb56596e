"""The map finds the voxels that a reading stands on, and nothing where nothing is."""

import nibabel as nib
import numpy as np
import pytest
import torch

from llm4brain.align.basis import Basis, Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain.adaptor import PositionAdaptor
from llm4brain.brain.cohort import Cohort
from llm4brain.brain.positions import cut
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.maps import SHUFFLES, brain_map, same_grid, summary
from llm4brain.evaluate.permutation import shuffles
from llm4brain.evaluate.retrieval import centred, correlations
from llm4brain.evaluate.volumes import draw_gate, draw_map, image, save_image
from llm4brain.sections import EncoderSettings

ENCODER = EncoderSettings(
    patch_size=2, embed_dim=48, depth=2, num_heads=4, decoder_embed_dim=32, decoder_depth=1
)
SHAPE, CLIPS, VOLUMES, RANK, D = (6, 5, 4), 60, 2, 4, 30
AFFINE = np.array([[8.0, 0, 0, -20], [0, 8, 0, -90], [0, 0, 8, -12], [0, 0, 0, 1]])
VOXELS = np.argwhere(np.ones(SHAPE, bool))[7:].astype(np.int16)
PLANTED = np.array([20, 21, 60, 61, 100])  # voxels that know the clip
UNREAD = np.arange(40, 50)  # whose BOLD no weight reads
NAMES = [f"film-{1 + i // 30:02d}_{4.0 * (i % 30):06.1f}" for i in range(CLIPS)]


@pytest.fixture(scope="module")
def shown():
    """Windows of noise in which some voxels know the components of the clip's tokens."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(D, RANK)))[0].T.astype(np.float32)
    basis = Basis(
        rng.normal(size=D).astype(np.float32), axes, np.ones(RANK), np.array([2, 1, 1, 0.5])
    )
    components = rng.normal(size=(CLIPS, RANK))
    windows = rng.normal(size=(CLIPS, VOLUMES, len(VOXELS)))
    windows[:, :, PLANTED] += (2 * components @ rng.normal(size=(RANK, len(PLANTED))))[:, None]
    truth = components @ axes + basis.mean
    return basis, windows.astype(np.float32), truth.astype(np.float32)


def reader_of(shown, alpha):
    """A reader whose readout is ridge on its own features, and reads nothing of some voxels.

    With alpha above 0 what neighbours predict is taken away; gate and adaptor weigh voxels, but do
    not move them.
    """
    basis, windows, truth = shown
    rng = np.random.default_rng(3)
    torch.manual_seed(0)
    grid = cut(VOXELS, AFFINE, ENCODER.patch_size)
    encoder = SCMBM(ENCODER, grid, 1)
    encoder.set_linear(torch.randn(len(VOXELS), 3) / 3, 1.0)
    reader = BrainReader(encoder, PositionAdaptor(grid), basis, (2, D // 2)).eval()
    with torch.no_grad():
        reader.adaptor.log_weight.normal_(std=0.3)
    reader.alpha, reader.power = alpha, 1.0 if alpha else 0.0
    reader.agreement = rng.uniform(0.2, 1, len(VOXELS)).astype(np.float32)
    x = reader.all_features(*reader.frozen(windows))
    reader.mean = torch.from_numpy(x.mean(0))
    x = (x - x.mean(0)).astype(np.float64)
    x[:, UNREAD] = 0
    weight = np.linalg.solve(x.T @ x + 10 * np.eye(len(VOXELS)), x.T @ basis.read(truth))
    reader.weights = {"01": torch.tensor(weight, dtype=torch.float32)}
    return reader


def mapped(shown, reader, **more):
    _, windows, truth = shown
    given = {"windows": windows, "clip_ids": NAMES, "truth": truth} | more
    given["truth"] = Space.of(reader.basis).truth(given["truth"])
    return brain_map(reader, subject="01", seconds=20.0, seed=0, **given)


def test_planted_voxels_are_found_and_nothing_where_nothing_is(shown):
    found = mapped(shown, reader_of(shown, 0.0))
    assert (found.z[PLANTED] > found.threshold).all()
    others = np.delete(np.arange(len(VOXELS)), PLANTED)
    assert found.contribution[PLANTED].min() > found.contribution[others].max()
    assert np.abs(found.contribution[UNREAD]).max() < 1e-6
    assert not found.z[UNREAD].any()
    assert summary(found)["n_above"] >= len(PLANTED)
    assert found.clips == CLIPS


def test_the_parts_add_up_to_the_match(shown):
    found = mapped(shown, reader_of(shown, 0.0))
    assert found.match > 0.5
    assert found.total == pytest.approx(found.match, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_it_is_what_is_lost_where_a_voxel_s_surprise_is_set_to_its_mean(shown, alpha):
    _, windows, truth = shown
    reader = reader_of(shown, alpha)
    centre = reader.basis.mean.astype(np.float64)
    unit = truth - centre
    unit -= unit.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    others = unit[shuffles(blocks(NAMES, 20.0), SHUFFLES, 0)].mean(axis=0)  # (clips, D)
    features, weight = reader.centred(windows, "01")

    def read(x):
        tokens = reader.query_tokens(x @ weight).reshape(CLIPS, -1).astype(np.float64) - centre
        return tokens - tokens.mean(axis=1, keepdims=True)

    whole = read(features)
    length = np.linalg.norm(whole, axis=1, keepdims=True)
    found = mapped(shown, reader)
    for voxel in (*PLANTED[:3], 5, 80, UNREAD[0]):
        without = features.copy()
        without[:, voxel] = 0
        by_hand = ((whole - read(without)) / length * (unit - others)).sum(axis=1).mean()
        assert found.contribution[voxel] == pytest.approx(by_hand, rel=0.02, abs=1e-4)


def test_of_a_surprise_planted_voxels_are_found_as_well(shown):
    found = mapped(shown, reader_of(shown, 0.8))
    assert (found.z[PLANTED] > found.threshold).sum() >= 3
    assert not found.z[UNREAD].any()
    assert found.total == pytest.approx(found.match, rel=1e-3)


def test_without_evidence_one_map_in_twenty_has_a_voxel_beyond_the_threshold(shown):
    reader, rng = reader_of(shown, 0.0), np.random.default_rng(2)
    passed = []
    for _ in range(60):
        blind = shown[0].write(rng.normal(size=(CLIPS, RANK))).astype(np.float32)
        found = mapped(shown, reader, truth=blind)
        passed.append((np.abs(found.z) > found.threshold).any())
    assert sum(passed) <= 8  # three are expected; nine or more come once in 350


def test_a_suppressor_has_a_weight_and_no_place_on_the_map(shown):
    """Haufe et al. 2014: read to cancel another voxel's noise, it knows nothing of the clip."""
    basis, windows, truth = shown
    rng = np.random.default_rng(1)
    both = windows.copy()
    noise = 3 * rng.normal(size=(CLIPS, 1)).astype(np.float32)
    both[:, :, PLANTED[0]] += noise  # a voxel that knows the clip, under noise ...
    both[:, :, 5] = noise  # ... that another holds alone
    reader = reader_of((basis, both, truth), 0.0)
    found = mapped((basis, both, truth), reader)
    weight = np.linalg.norm(reader.weights["01"].numpy(), axis=1)
    assert weight[5] > 2 * np.median(weight)
    assert abs(found.z[5]) < found.threshold
    assert found.z[PLANTED[0]] > found.threshold


def test_wrong_windows_and_too_few_clips_are_one_line(shown):
    reader, windows = reader_of(shown, 0.0), shown[1]
    with pytest.raises(UserError, match="are of 112 voxels; the model reads 113"):
        mapped(shown, reader, windows=windows[:, :, 1:])
    few = {"windows": windows[:4], "clip_ids": NAMES[:4], "truth": shown[2][:4]}
    with pytest.raises(UserError, match="make no two blocks of 20 s"):
        mapped(shown, reader, **few)


def test_windows_of_another_grid_are_refused(tmp_path):
    class Model(dict):
        """As `Arrays`, of two names."""

    model = Model({"grid.voxels": VOXELS, "grid.affine": AFFINE})
    test = Cohort(np.zeros((1, 2, 113)), None, VOXELS, AFFINE)
    same_grid(tmp_path, test, model)
    moved = Cohort(test.windows, None, VOXELS, AFFINE + np.eye(4))
    with pytest.raises(UserError, match="lies on other voxels than the model reads"):
        same_grid(tmp_path, moved, model)


def test_the_volume_lies_in_mni_space_and_says_what_it_is(tmp_path):
    values = np.arange(1.0, 1 + len(VOXELS))
    made = image(values, VOXELS, AFFINE, SHAPE, "simulated data: a test")
    save_image(made, tmp_path / "map.nii.gz")
    loaded = nib.load(tmp_path / "map.nii.gz")
    assert loaded.get_sform(coded=True)[1] == loaded.get_qform(coded=True)[1] == 4
    np.testing.assert_allclose(loaded.affine, AFFINE)
    np.testing.assert_array_equal(loaded.get_fdata()[tuple(VOXELS.T)], values)
    assert bytes(loaded.header["descrip"]).rstrip(b"\0") == b"simulated data: a test"
    first = (tmp_path / "map.nii.gz").read_bytes()
    save_image(made, tmp_path / "map.nii.gz")
    assert (tmp_path / "map.nii.gz").read_bytes() == first
    assert np.count_nonzero(loaded.get_fdata()) == len(VOXELS)
    with pytest.raises(UserError, match="holds 3 values for 113 voxels"):
        image(values[:3], VOXELS, AFFINE, SHAPE, "")


def test_the_picture_is_the_same_bytes_twice(tmp_path):
    """Of a map without evidence, which has to be drawn as well."""
    z = image(np.zeros(len(VOXELS)), VOXELS, AFFINE, SHAPE, "")
    for name in ("a.png", "b.png"):
        save(draw_map(z, 4.0, "sub-01: simulated phantom"), tmp_path / name, dpi=130)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert len(first) > 5000


def test_the_gate_s_picture_is_the_same_bytes_twice(tmp_path):
    """Of a gate that is zero everywhere as well."""
    for level in (0.0, 0.3):
        gate = image(np.full(len(VOXELS), level), VOXELS, AFFINE, SHAPE, "")
        for name in ("a.png", "b.png"):
            save(draw_gate(gate, "full, learned on all, simulated data"), tmp_path / name, dpi=130)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_correlations_are_the_match(shown):
    """The match that is mapped is what retrieval scores."""
    reader = reader_of(shown, 0.0)
    found = reader.components(shown[1], np.full(CLIPS, "01"))
    tokens = reader.query_tokens(found).reshape(CLIPS, -1)
    scores = correlations(*(centred(rows, shown[0].mean) for rows in (tokens, shown[2])))
    orders = shuffles(blocks(NAMES, 20.0), SHUFFLES, 0)
    shuffled = scores[np.arange(CLIPS), orders].mean()
    assert mapped(shown, reader).match == pytest.approx(np.diag(scores).mean() - shuffled)
