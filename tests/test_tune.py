"""Tuning and decoding: the gap, LoRA, what the decoder may see."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import blip2

from llm4brain.brain.cohort import Cohort
from llm4brain.clips import Run, cut_windows
from llm4brain.errors import UserError
from llm4brain.sections import ClipSettings, FitSettings, TuneSettings
from llm4brain.training import make_accelerator
from llm4brain.tune.decode import Decoded, prompt_alone, put_into_words, read, shuffled
from llm4brain.tune.gap import understanding_gap
from llm4brain.tune.lora import add_lora, load_lora, save_lora, tune
from llm4brain.tune.null_inputs import noise_like, windows_of
from llm4brain.tune.samples import Samples, tuning_samples
from llm4brain.tune.teacher import Teacher
from llm4brain.video.videollm import VideoLLM

ROOT = Path(__file__).parent.parent
CAPTIONS = [["a dog is running ."], ["a cat in red ."], ["the girl is jumping ."], ["a dog ."]]


@pytest.fixture
def folder(tmp_path):
    return blip2(tmp_path / "blip2", "llama")


def tokens(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8, 32)).astype(np.float32)


def test_the_gap_is_kl_from_the_video_reading():
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    p, q = teacher.softmax(-1), student.softmax(-1)
    assert float(understanding_gap(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    by_hand = float((p * (p / q).log()).sum(-1).mean())
    assert float(understanding_gap(student, teacher)) == pytest.approx(by_hand, rel=1e-4)


def test_lora_starts_as_no_change(folder):
    llm = VideoLLM.load(folder)
    z = torch.from_numpy(tokens(4, 0))
    texts = [c[0] for c in CAPTIONS]
    before = llm.answer(z, texts)[0]
    add_lora(llm, TuneSettings())
    llm.eval()
    assert torch.allclose(llm.answer(z, texts)[0], before, atol=1e-6)


def samples(z_f, clip, z_v, captions):
    """Samples whose components are the tokens themselves."""
    return Samples(z_f, clip, np.arange(len(z_v)), captions, lambda rows: rows, z_v)


def test_tuning_trains_lora_alone_and_is_saved_in_pefts_format(folder, tmp_path):
    llm = VideoLLM.load(folder)
    frozen = {n: p.clone() for n, p in llm.model.language_model.named_parameters()}
    settings = TuneSettings(fit=FitSettings(epochs=3, batch_size=2, lr=1e-2))
    train = samples(tokens(8, 0), np.repeat(np.arange(4), 2), tokens(4, 1), CAPTIONS)
    log = tune(llm, train, train, settings, 0, tmp_path / "ck", make_accelerator(1, "fp32"))
    assert {"caption_loss", "gap_loss", "val_loss", "best"} <= set(log.columns)
    assert log["val_loss"].iloc[-1] < log["val_loss"].iloc[0]
    after = dict(llm.model.language_model.named_parameters())
    for name, weight in frozen.items():
        kept = after.get(f"base_model.model.{name}")
        if kept is None:  # wrapped by a LoRA layer
            kept = after[f"base_model.model.{name.replace('_proj.', '_proj.base_layer.')}"]
        assert torch.equal(weight, kept)
    save_lora(llm.model.language_model, tmp_path / "tune", "models/video_llm")
    assert sorted(p.name for p in (tmp_path / "tune").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    again = VideoLLM.load(folder)
    load_lora(again, tmp_path / "tune")
    z, texts = torch.from_numpy(tokens(4, 0)), [c[0] for c in CAPTIONS]
    assert torch.allclose(again.answer(z, texts)[0], llm.eval().answer(z, texts)[0], atol=1e-5)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def _spoilt(path, change):
    held = load_file(path)
    change(held, min(held))
    save_file(held, path)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("config.json", Path.unlink, "adapter_config.json: does not exist"),
        (
            "config.json",
            lambda path: path.write_text("{}"),
            "adapter_config.json: is not of a LoRA",
        ),
        ("model.safetensors", _cut, "adapter_model.safetensors: is not a whole safetensors file"),
        (
            "model.safetensors",
            lambda path: _spoilt(path, lambda held, name: held.pop(name)),
            r"adapter_model.safetensors: lacks the weights base_model.*lora_A.weight; tune",
        ),
        (
            "model.safetensors",
            lambda path: _spoilt(path, lambda held, name: held[name].fill_(torch.nan)),
            r"adapter_model.safetensors: holds NaN or infinite values in base_model.*lora_A",
        ),
        (
            "model.safetensors",
            lambda path: _spoilt(
                path, lambda held, name: held.update({name: held[name][1:].clone()})
            ),
            "adapter_model.safetensors: does not fit the LLM",
        ),
        (
            "model.safetensors",
            lambda path: _spoilt(path, lambda held, name: held.update(stranger=torch.ones(2))),
            "adapter_model.safetensors: holds stranger, for which the model has no place",
        ),
    ],
)
def test_an_adapter_that_is_not_whole_is_named(folder, tmp_path, name, spoil, said):
    llm = VideoLLM.load(folder)
    save_lora(add_lora(llm, TuneSettings(lora_rank=2)), tmp_path / "tune", "models/video_llm")
    load_lora(VideoLLM.load(folder), tmp_path / "tune")
    spoil(tmp_path / "tune" / f"adapter_{name}")
    with pytest.raises(UserError, match=said):
        load_lora(VideoLLM.load(folder), tmp_path / "tune")


class _Stage:
    """As much of an adapted encoder's file as `tuning_samples` reads."""

    meta = {"train_clips": ["a", "b", "a"]}  # noqa: RUF012

    def __getitem__(self, name):
        assert name == "train.out_of_fold"
        return np.zeros((3, 3), dtype=np.float32)


class _Reader:
    def query_tokens(self, components):
        return tokens(len(components), 0)


class _Video:
    meta = {"clip_id": ["t", "b", "a"]}  # noqa: RUF012

    def mapped(self, name):
        return tokens(3, 1)


def test_captions_of_other_splits_never_reach_the_samples():
    captions = pd.DataFrame({"clip_id": ["a", "b", "t"], "caption": ["one", "two", "secret"]})
    found = tuning_samples(_Stage(), _Reader(), _Video(), captions, "train", "out_of_fold")
    assert found.captions == [["one"], ["two"]]
    assert np.array_equal(found.z_v([0, 1]), tokens(3, 1)[[2, 1]])
    assert [rows.tolist() for rows in found.readings()] == [[0, 2], [1]]
    with pytest.raises(UserError, match="none for clip b"):
        tuning_samples(_Stage(), _Reader(), _Video(), captions.iloc[[0, 2]], "train", "out_of_fold")


def test_the_decode_step_has_no_captions():
    source = (ROOT / "scripts" / "decode.py").read_text()
    arguments = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)).args
    assert "captions" not in {a.arg for a in arguments.args}
    rule = (ROOT / "rules" / "evaluate.smk").read_text().split("rule decode:")[1].split("rule ")[0]
    assert "data/captions" not in rule


def test_noise_has_the_size_of_bold_and_nothing_of_it():
    rng = np.random.default_rng(0)
    windows = rng.normal(3, 2, size=(300, 2, 5)).astype(np.float32)
    noise = noise_like(windows, 400, seed=1)
    assert noise.shape == (400, 2, 5)
    assert np.allclose(noise.mean(0), 3, atol=0.6)
    assert np.allclose(noise.std(0), 2, atol=0.4)
    assert np.array_equal(noise, noise_like(windows, 400, seed=1))


def test_a_rolled_run_shows_another_moment():
    bold = np.arange(40, dtype=np.float32)[:, None]
    run = Run("01", bold, np.ones(40, bool), 2.0, 0.0, [
        {"onset": 0.0, "duration": 60.0, "stim_file": "a.mp4"}
    ])  # fmt: skip
    clips = pd.DataFrame({
        "clip_id": ["a_1"], "stim_file": ["a.mp4"], "onset": [32.0], "duration": [4.0],
        "split": ["test"],
    })  # fmt: skip
    settings = ClipSettings(lag=4.0, window=4.0)
    true = cut_windows([run], clips, settings).windows[0, :, 0]
    other = cut_windows([run], clips, settings, roll=20.0).windows[0, :, 0]
    assert true.tolist() == [18, 19]
    assert other.tolist() == [8, 9]


def test_the_teacher_is_the_frozen_llm_reading_the_video(folder):
    llm = VideoLLM.load(folder)
    z_v = tokens(3, 1)
    texts = [["a dog is running .", "a cat in red ."], ["the girl is jumping ."], ["a dog ."]]
    teacher = Teacher(llm, z_v.__getitem__, texts)
    read = ["a cat in red .", "a dog ."]
    expected = llm.answer(torch.from_numpy(z_v[[0, 2]]), read)[0]
    peft = add_lora(llm, TuneSettings())
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)  # what is tuned leaves the teacher as it was
    found = teacher.logits([0, 2], read)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(llm.answer(torch.from_numpy(z_v[[0, 2]]), read)[0], expected)


class _FewWords:
    """Stands in for the LLM: says how much it was given, and counts the rows."""

    def __init__(self):
        self.rows = []
        self.embeddings = type("E", (), {"embedding_dim": 3})

    def generate(self, prefix, _):
        self.rows.append(len(prefix))
        return [f"{float(row.sum()):.1f}" if row.numel() else "nothing" for row in prefix]


class _Plain:
    """Stands in for the reader: the window itself is the reading."""

    def components(self, windows, subjects):
        return windows.reshape(len(windows), -1)

    def query_tokens(self, components):
        return components.reshape(len(components), 1, -1)


def test_what_is_read_alike_is_put_into_words_once():
    llm, rng = _FewWords(), np.random.default_rng(0)
    windows = rng.normal(size=(4, 1, 3)).astype(np.float32)
    nothing = np.zeros((1, 1, 3), np.float32)
    inputs = {("model", "model"): lambda: windows, ("zeros", "floor"): lambda: nothing}
    found = put_into_words(read(inputs, 4, "01", _Plain()), _Plain(), llm, 5)
    assert llm.rows == [5]  # four clips, and zeros once
    assert found[0].texts == [f"{w.sum():.1f}" for w in windows]
    assert found[1].texts == ["0.0"] * 4
    assert prompt_alone(llm, 3, 5) == ["nothing"] * 3
    assert llm.rows[-1] == 1


def test_shuffled_predictions_stay_in_their_film_or_do_not():
    names = [f"{film}_{i:04.1f}" for film in "ab" for i in range(30)]
    given = Decoded("model", "model", names, np.arange(60)[:, None])
    across, within = shuffled(given, names, (0,))
    assert sorted(across.texts) == sorted(within.texts) == names
    assert [t[0] for t in within.texts] == [n[0] for n in names]
    assert [t[0] for t in across.texts] != [n[0] for n in names]
    assert [names[i] for i in across.reading[:, 0]] == across.texts
    assert np.mean([t == n for t, n in zip(within.texts, names, strict=True)]) < 0.2


def test_films_of_one_clip_lend_each_other_theirs():
    """Within itself such a film would keep what was said of it: no floor, but the model."""
    names = [f"{i:04d}_0000.0" for i in range(30)] + [f"a_{i:04.1f}" for i in range(2)]
    given = Decoded("model", "model", names, np.arange(32)[:, None])
    within = shuffled(given, names, (0,))[1]
    assert set(within.texts[:30]) == set(names[:30])
    assert np.mean([t == n for t, n in zip(within.texts[:30], names, strict=False)]) < 0.2


def test_a_clip_that_another_subject_has_not_seen_is_read_from_nothing():
    table = pd.DataFrame({"clip_id": ["b", "a"]})
    found = Cohort(np.array([[[2.0]], [[1.0]]]), table, None, None)
    assert windows_of(found, ["a", "x", "b"], np.array([[6.0]])).ravel().tolist() == [1, 6, 2]
