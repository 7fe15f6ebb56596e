"""One step's gradient, however its samples are shared out; less memory by the same numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from leak_data import FITTED, SETTINGS, run, write_models, write_study
from safetensors.numpy import load_file

from llm4brain.gradient_accumulation import apart, share_out
from llm4brain.io import Arrays, read_table
from llm4brain.sections import EncoderSettings

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("shares") / "study", poisoned=False)


@pytest.fixture(scope="module")
def models(study, tmp_path_factory):
    return write_models(study, tmp_path_factory.mktemp("shares") / "models")


def losses(folder, stage):
    """The log's figures; nothing is trained in its first row."""
    return read_table(folder / f"{stage}.csv").select_dtypes("number").fillna(0).to_numpy()


def test_shares_of_a_step_are_every_sample_once_and_weigh_one():
    class Of:
        num_processes = 3

        def __init__(self, number):
            self.process_index = number

    lengths = np.array([3, 1, 4, 1, 5, 9, 2])
    seen, total = [], 0.0
    for number in range(3):
        for (samples, own), weight in share_out(
            (np.arange(7), lengths), 3, lambda _, n: n.sum(), Of(number)
        ):
            assert weight == pytest.approx(own.sum() / lengths.sum()) or weight == 0
            seen += samples.tolist() if weight else []
            total += weight
    assert sorted(seen) == list(range(7))
    assert total == pytest.approx(1)


def test_what_is_drawn_alike_does_not_depend_on_dropout():
    class Second:
        num_processes, process_index = 2, 1

    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    with apart(Second(), seed=5):
        torch.rand(17)
    assert torch.rand(1) == before


@pytest.mark.parametrize("stage", ["pretrain", "tune"])
def test_batches_that_accumulate_are_one_large_batch(study, models, tmp_path, monkeypatch, stage):
    run(stage, study, models, tmp_path / "large")
    small = SETTINGS[stage]["fit"] | {"batch_size": 4, "gradient_accumulation_steps": 4}
    monkeypatch.setitem(SETTINGS, stage, SETTINGS[stage] | {"fit": small})
    run(stage, study, models, tmp_path / "small")
    found, expected = losses(tmp_path / "small", stage), losses(tmp_path / "large", stage)
    assert np.allclose(found, expected, rtol=1e-4)
    file = "tune/adapter_model.safetensors" if stage == "tune" else f"{stage}.safetensors"
    one, other = (load_file(tmp_path / size / file) for size in ("large", "small"))
    assert any(not np.array_equal(one[n], other[n]) for n in one)  # rounded in another order


@pytest.mark.parametrize("stage", ["pretrain", "tune"])
def test_recomputed_activations_change_nothing(study, models, tmp_path, monkeypatch, stage):
    plain = run(stage, study, models, tmp_path / "plain")
    monkeypatch.setitem(SETTINGS, stage, SETTINGS[stage] | {"gradient_checkpointing": True})
    again = run(stage, study, models, tmp_path / "again")
    assert plain[f"{stage}.csv"] == again[f"{stage}.csv"]


def test_recomputing_keeps_fewer_activations():
    def kept(recomputed):
        from llm4brain.brain.positions import cut
        from llm4brain.brain.sc_mbm import SCMBM

        sizes = {
            "embed_dim": 48,
            "depth": 4,
            "num_heads": 4,
            "decoder_embed_dim": 32,
            "patch_size": 2,
        }
        settings = EncoderSettings(**sizes, gradient_checkpointing=recomputed)
        voxels = np.argwhere(np.ones((6, 6, 6)))
        model = SCMBM(settings, cut(voxels, np.eye(4), 2), 2)
        bytes_ = 0

        def keep(tensor):
            nonlocal bytes_
            bytes_ += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.tokens(torch.zeros(4, 2, len(voxels)))
        return bytes_

    assert kept(True) < kept(False) / 2


@pytest.fixture
def other_precision():
    """accelerate keeps the first precision of a process, which in the workflow is a job."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("other_precision")
def test_the_chain_trains_in_bf16(study, models, tmp_path):
    """bfloat16 on any CPU: it learns, and what is written is float32."""
    out = tmp_path / "bf16"
    out.mkdir()
    (out / "video_llm").symlink_to(models / "video_llm")
    for stage in FITTED:
        run(stage, study, out, out, precision="bf16")
        log = read_table(out / f"{stage}.csv")
        assert np.isfinite(log["val_loss"]).all()
        assert not np.array_equal(losses(out, stage), losses(models, stage))
    learned = read_table(out / "pretrain.csv")["loss"]  # none before the first epoch
    assert learned.iloc[-1] < learned.iloc[1]
    arrays = Arrays(out / "pretrain.safetensors")
    assert {arrays[n].dtype for n in arrays.names if "scmbm" in n} == {np.dtype("float32")}


def together(*arguments):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, "--nproc-per-node", "2", HERE / "together.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.mark.long
def test_two_processes_are_one_with_twice_the_batch(study, models, tmp_path):
    """gloo on the CPU. One of the two writes; after a kill both go on from its checkpoint."""
    done = together(study, models, tmp_path / "two", "whole")
    assert done.returncode == 0, done.stderr
    for stage in ("pretrain", "tune"):
        run(stage, study, models, tmp_path / "one")
        found = losses(tmp_path / "two", stage)
        assert np.allclose(found, losses(tmp_path / "one", stage), rtol=1e-4)
        said = [line for line in done.stderr.splitlines() if f"{stage} epoch=1" in line]
        assert len(said) == 1, done.stderr
    killed = together(study, models, tmp_path / "killed", "killed")
    assert killed.returncode != 0
    assert (tmp_path / "killed/pretrain.checkpoint/index.json").exists()
    resumed = together(study, models, tmp_path / "killed", "resumed")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("resumed after epoch 1") == 1
    for name in ("pretrain.csv", "pretrain.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not list((tmp_path / "killed").glob("**/.partial-*"))
