"""A stage of alignment: never below ridge, frozen parts untouched, resumed as uninterrupted."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from llm4brain.align import features
from llm4brain.align.aligner import Aligner, VideoSide, train_stage
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import Basis
from llm4brain.brain.adaptor import Adaptor, unchanged
from llm4brain.brain.cohort import Cohort
from llm4brain.brain.positions import cut
from llm4brain.brain.pretrain import load_encoder, save_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.errors import UserError
from llm4brain.io import Arrays
from llm4brain.sections import EncoderSettings, FitSettings
from llm4brain.training import machine

SETTINGS = EncoderSettings(patch=2, width=24, blocks=1, heads=2, decoder_width=32)
VOXELS = np.argwhere(np.ones((4, 4, 4)))
CLIPS, K, D = 40, 2, 6


@pytest.fixture
def cohort():
    """Two subjects who see the same clips, with a linear code planted in their BOLD."""
    rng = np.random.default_rng(0)
    z_v = rng.normal(size=(CLIPS, 4)) @ rng.normal(size=(4, K * D))
    code = rng.normal(size=(K * D, len(VOXELS)))
    windows = np.concatenate([z_v @ code + 3 * rng.normal(size=(CLIPS, 64)) for _ in "ab"])
    table = pd.DataFrame({
        "subject": np.repeat(["01", "02"], CLIPS),
        "clip_id": [f"c{i:02d}" for i in range(CLIPS)] * 2,
        "stim_file": [f"film-{i // 8}" for i in range(CLIPS)] * 2,
        "split": (["train"] * 32 + ["validation"] * 8) * 2,
    })  # fmt: skip
    data = np.repeat(windows[:, None, :], 2, axis=1).astype(np.float32)
    return Cohort(data, table, VOXELS, np.diag([8.0, 8, 8, 1])), z_v.astype(np.float32)


def build(cohort, z_v, member="none"):
    torch.manual_seed(0)
    train, validation = cohort.split("train"), cohort.split("validation")
    clips = np.tile(np.arange(32), 2)
    basis = Basis.fit(z_v[:32], 4)
    reader = BrainReader(SCMBM(SETTINGS, cut(cohort.voxels, cohort.affine, 2), 2), 4, basis, (K, D))
    adaptors = nn.ModuleList([Adaptor(D, 3)])
    vit = z_v.reshape(CLIPS, 1, K, D)
    side = VideoSide(lambda tokens: adaptors[0](tokens[:, 0]), adaptors, vit)
    targets = basis.read(z_v[clips]), basis.read(z_v[np.tile(np.arange(32, 40), 2)])
    return Aligner(reader, side, train, validation, targets, clips, 4, member)


@pytest.mark.parametrize("member", ["none", "adversarial", "coral", "selfsupervised"])
def test_a_stage_ends_at_ridge_or_above_it(cohort, tmp_path, member):
    aligner = build(*cohort, member)
    start = aligner.refit()
    frozen = {k: v.clone() for k, v in aligner.reader.encoder.state_dict().items()}
    fitting = FitSettings(epochs=2, batch_size=16, lr=1e-2)
    stage = train_stage(aligner, fitting, 0.1, 0, "align", tmp_path / "ck", machine(1, "fp32"))
    assert stage.readout.validation >= start - 1e-9
    assert 1 - stage.log["val_loss"].min() == pytest.approx(stage.readout.validation, abs=1e-6)
    assert unchanged(frozen, aligner.reader.encoder.state_dict())
    assert start > 0.5  # the planted code is read


def test_a_reader_is_saved_whole(cohort, tmp_path):
    aligner = build(*cohort)
    aligner.refit()
    train = cohort[0].split("train")
    save_encoder(tmp_path / "pretrain.safetensors", aligner.reader.encoder, train, {})
    encoder = load_encoder(Arrays(tmp_path / "pretrain.safetensors"))
    assert unchanged(encoder.state_dict(), aligner.reader.encoder.state_dict())
    with torch.no_grad():
        aligner.reader.adaptors[0].up.weight.normal_(std=0.1)
    aligner.refit()
    grid = Arrays(tmp_path / "pretrain.safetensors")
    aligner.reader.save(tmp_path / "align.safetensors", grid, {}, {"a": 1})
    again = BrainReader.load(Arrays(tmp_path / "align.safetensors"))
    subjects = train.column("subject")
    assert np.allclose(
        again.components(train.windows, subjects),
        aligner.reader.components(train.windows, subjects),
        atol=1e-4,
    )


def test_features_larger_than_memory_are_read_alike(cohort, tmp_path, monkeypatch):
    fitting = FitSettings(epochs=2, batch_size=16, lr=1e-2)
    validation = cohort[0].split("validation")
    who, read, gains = validation.column("subject"), [], []
    for name, held, block in (("whole", 2**31, 2**30), ("parts", 0, 5000)):
        monkeypatch.setattr(features, "HELD", held)
        monkeypatch.setattr(features, "BLOCK", block)
        assert isinstance(features.room(64, 10), np.memmap) == (name == "parts")
        assert (len(features.blocks(64, 100)) > 1) == (name == "parts")
        aligner = build(*cohort)
        aligner.choose_gain()
        gains.append(aligner.reader.gain)
        aligner.reader.gain = 1.0  # the adaptors are read
        train_stage(aligner, fitting, 0.0, 0, "align", tmp_path / name, machine(1, "fp32"))
        read.append(aligner.reader.components(validation.windows, who))
    assert gains[0] == gains[1]
    np.testing.assert_allclose(*read, atol=1e-3)
    with pytest.raises(UserError, match="has no 4000000 GB for features"):
        features.room(10**9, 10**6)


def test_a_stranger_is_read_by_what_subjects_share(cohort):
    aligner = build(*cohort)
    aligner.refit()
    windows = cohort[0].split("validation").windows
    read = aligner.reader.components(windows, np.full(len(windows), "99"))
    assert np.isfinite(read).all()
    assert "shared" in aligner.reader.weights


def test_killed_and_resumed_is_the_same_as_uninterrupted(cohort, tmp_path):
    fitting = FitSettings(epochs=3, batch_size=16, lr=1e-2)

    def run(folder, stop_after=None):
        aligner = build(*cohort)
        if stop_after is not None:
            seen = []
            inner = aligner.refit

            def refit():
                seen.append(1)
                if len(seen) > stop_after + 1:
                    raise KeyboardInterrupt
                return inner()

            aligner.refit = refit
        stage = train_stage(aligner, fitting, 0.0, 0, "align", folder, machine(1, "fp32"))
        return aligner, stage

    whole, whole_stage = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop_after=1)
    again, again_stage = run(tmp_path / "b")
    assert unchanged(whole.reader.adaptors.state_dict(), again.reader.adaptors.state_dict())
    assert np.array_equal(whole_stage.readout.out_of_fold, again_stage.readout.out_of_fold)
    assert whole_stage.log["val_loss"].tolist() == again_stage.log["val_loss"].tolist()
