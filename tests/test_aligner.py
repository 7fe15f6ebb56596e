"""A stage of alignment: never below ridge, frozen parts untouched, resumed as uninterrupted."""

import numpy as np
import pandas as pd
import pytest
import torch

from llm4brain.align import features
from llm4brain.align.aligner import Aligner, train_stage
from llm4brain.align.basis import Basis
from llm4brain.align.reader import BrainReader, Way
from llm4brain.align.samples import Samples
from llm4brain.align.stage import StageData, learn_gate
from llm4brain.brain.adaptor import PositionAdaptor, unchanged
from llm4brain.brain.cohort import Cohort
from llm4brain.brain.masked_linear import loadings
from llm4brain.brain.positions import cut
from llm4brain.brain.pretrain import load_encoder, save_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.errors import UserError
from llm4brain.io import Arrays, write_arrays, write_table
from llm4brain.sections import EncoderSettings, FitSettings
from llm4brain.training import make_accelerator

SETTINGS = EncoderSettings(patch_size=2, embed_dim=24, depth=1, num_heads=2, decoder_embed_dim=32)
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


def build(cohort, z_v, methods=(), width=3, **options):
    torch.manual_seed(0)
    samples, bold = cohort, cohort.windows.mean(1)
    grid = cut(samples.voxels, samples.affine, 2)
    encoder = SCMBM(SETTINGS, grid, 1)
    encoder.set_linear(torch.from_numpy(loadings(bold[samples.table["split"] == "train"], 5)), 1.0)
    basis = Basis.fit(z_v[:32], 4)
    reader = BrainReader(encoder, PositionAdaptor(grid, width), basis, (K, D))
    own = {}
    for split, clips in (("train", np.arange(32)), ("validation", np.arange(32, 40))):
        targets = basis.read(z_v[np.tile(clips, 2)]).astype(np.float32)
        own[split] = Samples.of(samples.split(split), targets, reader)
    return Aligner(reader, own["train"], own["validation"], 4, methods, **options)


FITTING = FitSettings(epochs=2, batch_size=2, lr=1e-2)


@pytest.mark.parametrize(
    "methods", [(), ("gate",), ("adversarial",), ("coral",), ("gate", "selfsupervised")]
)
def test_a_stage_ends_at_ridge_or_above_it(cohort, tmp_path, methods):
    aligner = build(*cohort, methods)
    start = aligner.refit()
    aligner.readout = None
    frozen = {k: v.clone() for k, v in aligner.reader.encoder.state_dict().items()}
    stage = train_stage(
        aligner, FITTING, 0.1, 0, "align", tmp_path / "ck", make_accelerator(1, "fp32")
    )
    assert stage.readout.validation >= start - 1e-9
    assert 1 - stage.log["val_loss"].min() == pytest.approx(stage.readout.validation, abs=1e-6)
    assert unchanged(frozen, aligner.reader.encoder.state_dict())
    assert start > 0.5  # the planted code is read
    assert stage.log["loss"].iloc[1:].notna().all()


def test_before_the_adaptor_learns_a_reading_is_a_ridge_on_the_surprise(cohort):
    """alpha 1, one person: x less what the linear path predicts, centred on train, by ridge."""
    aligner = build(*cohort, alphas=(1.0,), tempering=(0.0,))
    aligner.refit()
    reader, train = aligner.reader, aligner.train_samples
    surprise = train.mean - train.predictable
    surprise -= surprise.mean(0)
    own, coupling = train.subjects == "01", aligner.readout.coupling
    kernel = surprise @ surprise.T * np.where(own[:, None] == own, 1, coupling)
    ridge = aligner.readout.penalty * np.trace(kernel) / len(kernel)
    dual = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), train.targets)
    expected = kernel[own] @ dual
    windows = cohort[0].split("train").windows[own]
    found = reader.components(windows, np.full(len(windows), "01"))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_gradient_step_sees_films_by_a_readout_solved_without_them(cohort):
    aligner = build(*cohort)
    aligner.refit()
    own = aligner.train_samples.of_subject("01")
    folds = torch.from_numpy(aligner.folds[aligner.train_samples.subjects == "01"])
    given = (torch.from_numpy(x) for x in (own.mean, own.predictable))
    x = aligner.reader.features(*given).detach()
    read, rows = aligner.read(own, folds, x)
    assert sorted(rows.tolist()) == list(range(len(own)))
    targets = own.targets.copy()
    targets[folds == 1] = 1e3  # what a fold's own films show is nothing to their readings
    again, _ = aligner.read(Samples(**vars(own) | {"targets": targets}), folds, x)
    held = folds[rows] == 1
    assert torch.equal(read[held], again[held])
    assert not torch.allclose(read[~held], again[~held])


def test_components_weigh_by_train_alone(cohort):
    """Validation chooses a power; the weights that are raised to it come from train."""
    aligner = build(*cohort, tempering=(1.0,))
    aligner.refit()
    before = aligner.reader.basis.weights
    assert before.std() > 0
    rng, held = np.random.default_rng(5), aligner.validation
    garbage = rng.normal(size=held.targets.shape).astype(np.float32)
    aligner.validation = Samples(**vars(held) | {"targets": garbage})
    aligner.weigh_components(aligner.features()[1])
    assert np.array_equal(aligner.reader.basis.weights, before)
    aligner.train_samples = Samples(
        **vars(aligner.train_samples) | {"targets": aligner.train_samples.targets[::-1]}
    )
    aligner.weigh_components(aligner.features()[1])
    assert not np.array_equal(aligner.reader.basis.weights, before)


def test_a_reader_is_saved_whole(cohort, tmp_path):
    aligner = build(*cohort, ("gate",))
    reader, train = aligner.reader, cohort[0].split("train")
    reader.agreement = np.random.default_rng(0).uniform(size=len(VOXELS)).astype(np.float32)
    save_encoder(tmp_path / "pretrain.safetensors", reader.encoder, train, {})
    encoder = load_encoder(Arrays(tmp_path / "pretrain.safetensors"))
    assert unchanged(encoder.state_dict(), reader.encoder.state_dict())
    with torch.no_grad():
        reader.adaptor.up.weight.normal_(std=0.1)
        reader.adaptor.log_weight.normal_(std=0.1)
    aligner.refit()
    reader.weights["99"] = reader.weights["01"] * 2
    reader.ways["99"] = Way(0.5, 1.0, False, reader.mean + 1)
    grid = Arrays(tmp_path / "pretrain.safetensors")
    reader.save(tmp_path / "align.safetensors", grid, {}, {"a": 1})
    again = BrainReader.load(Arrays(tmp_path / "align.safetensors"))
    for subjects in (train.column("subject"), np.full(len(train.windows), "99")):
        assert np.allclose(
            again.components(train.windows, subjects),
            reader.components(train.windows, subjects),
            atol=1e-4,
        )
    found = reader.components(train.windows[:3], np.full(3, "01"))
    assert np.array_equal(again.query_tokens(found), reader.query_tokens(found))


def test_a_model_of_another_version_is_one_line(cohort, tmp_path):
    path, reader = tmp_path / "pretrain.safetensors", build(*cohort).reader
    save_encoder(path, reader.encoder, cohort[0].split("train"), {})
    arrays = Arrays(path)
    settings = arrays.meta["encoder"]
    old = {"width" if key == "embed_dim" else key: value for key, value in settings.items()}
    held = {name: arrays[name] for name in arrays.names}
    write_arrays(tmp_path / "old.safetensors", held, arrays.meta | {"encoder": old})
    with pytest.raises(UserError, match="made by another version of LLM4Brain"):
        load_encoder(Arrays(tmp_path / "old.safetensors"))


def test_features_larger_than_memory_are_read_alike(cohort, tmp_path, monkeypatch):
    validation = cohort[0].split("validation")
    who, read, chosen = validation.column("subject"), [], []
    for name, held, block in (("whole", 2**31, 2**30), ("parts", 0, 5000)):
        monkeypatch.setattr(features, "HELD", held)
        monkeypatch.setattr(features, "BLOCK", block)
        assert isinstance(features.allocate(64, 10), np.memmap) == (name == "parts")
        assert (len(features.blocks(64, 100)) > 1) == (name == "parts")
        aligner = build(*cohort, ("gate",))
        train_stage(aligner, FITTING, 0.0, 0, "align", tmp_path / name, make_accelerator(1, "fp32"))
        chosen.append((aligner.reader.alpha, aligner.reader.power))
        read.append(aligner.reader.components(validation.windows, who))
    assert chosen[0] == chosen[1]
    np.testing.assert_allclose(*read, atol=1e-3)
    with pytest.raises(UserError, match="has no 4000000 GB for features"):
        features.allocate(10**9, 10**6)


def test_a_stranger_is_read_by_what_subjects_share(cohort):
    aligner = build(*cohort)
    aligner.refit()
    windows = cohort[0].split("validation").windows
    read = aligner.reader.components(windows, np.full(len(windows), "99"))
    assert np.isfinite(read).all()
    assert "shared" in aligner.reader.weights


def test_killed_and_resumed_is_the_same_as_uninterrupted(cohort, tmp_path):
    fitting = FITTING.model_copy(update={"epochs": 3})

    def run(folder, stop_after=None):
        aligner = build(*cohort, ("gate",))
        if stop_after is not None:
            seen = []
            inner = aligner.refit

            def refit():
                seen.append(1)
                if len(seen) > stop_after + 1:
                    raise KeyboardInterrupt
                return inner()

            aligner.refit = refit
        stage = train_stage(aligner, fitting, 0.0, 0, "align", folder, make_accelerator(1, "fp32"))
        return aligner, stage

    whole, whole_stage = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop_after=1)
    again, again_stage = run(tmp_path / "b")
    assert unchanged(whole.reader.adaptor.state_dict(), again.reader.adaptor.state_dict())
    assert np.array_equal(whole_stage.readout.out_of_fold, again_stage.readout.out_of_fold)
    assert whole_stage.log["val_loss"].tolist() == again_stage.log["val_loss"].tolist()


@pytest.mark.parametrize(
    ("people", "showings", "said"),
    [
        (("01", "02"), 1, "agreement between people"),
        (("01",), 2, "agreement between showings"),
        (("01", "02"), 2, "agreement between showings and people"),
        (("01",), 1, "one person, and no clip shown twice; it is off"),
    ],
)
def test_a_stage_says_what_its_gate_rests_on(cohort, tmp_path, people, showings, said):
    samples, _ = cohort
    files, meta = [], {"affine": samples.affine.tolist()}
    for name in people:
        own = np.flatnonzero(samples.table["subject"] == name)
        table = samples.table.iloc[np.tile(own, showings)].assign(valid=1.0, onset=0.0, run="01")
        table["repeat"], table["trial"] = (
            np.repeat(np.arange(showings), len(own)),
            range(len(table)),
        )
        rng = np.random.default_rng(0)
        windows = np.tile(samples.windows[own], (showings, 1, 1))
        windows = windows + rng.normal(size=windows.shape).astype(np.float32)
        files.append((tmp_path / f"{name}.safetensors", tmp_path / f"{name}.tsv"))
        write_arrays(files[-1][0], {"windows": windows, "voxels": samples.voxels}, meta)
        write_table(files[-1][1], table)
    video = tmp_path / "video.safetensors"
    tokens = np.zeros((CLIPS, K, D), np.float32)
    names = samples.table["clip_id"][:CLIPS].tolist()
    write_arrays(video, {"video_tokens": tokens}, {"clip_id": names})
    data = StageData.load(list(people), *map(list, zip(*files, strict=True)), video)
    reader = build(*cohort).reader
    assert said in learn_gate(data, reader, 0.0)
    assert (reader.agreement == 1).all() == ("off" in said)
