"""The small video-LLM trained on films and captions at a tiny size, and what it then writes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_films import grey_films, some_clips
from tiny_models import llm

from llm4brain.errors import UserError
from llm4brain.sections import VideoLLMSettings
from llm4brain.training import make_accelerator
from llm4brain.video.captions import feature_batches, feature_shapes, generated_captions
from llm4brain.video.learn import learn, read_films, save
from llm4brain.video.reference_captions import human_captions
from llm4brain.video.small import Words, build
from llm4brain.video.videollm import VideoLLM, model_hash

SCRIPTS = Path(__file__).parents[1] / "scripts"
TINY = VideoLLMSettings.model_validate(
    {
        "image_size": 16,
        "patch_size": 8,
        "embed_dim": 32,
        "vit_layers": 1,
        "qformer_layers": 2,
        "max_new_tokens": 6,
        "contrast": {"epochs": 3, "batch_size": 4, "lr": 1e-3},
        "generate": {"epochs": 3, "batch_size": 4, "lr": 1e-3},
    }
)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    return grey_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    return some_clips()


def train(films: Path, base: Path, work: Path) -> VideoLLM:
    video = build(base, TINY, seed=0)
    learn(
        video,
        read_films(films, 2, video.pixels),
        TINY,
        0,
        work,
        make_accelerator(1, "fp32"),
        "same",
    )
    return video


@pytest.fixture(scope="module")
def trained(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    video = train(films, llm(folder / "llm"), folder / "work")
    save(video, folder / "model", {"seed": 0})
    return folder


def digest(model) -> str:
    return hashlib.sha256(
        b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    ).hexdigest()


def test_checkpoint_loads_by_plain_from_pretrained(trained):
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    model, info = Blip2ForConditionalGeneration.from_pretrained(
        trained / "model", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(trained / "model")
    inputs = processor(
        images=np.zeros((32, 32, 3), np.uint8), text="describe the video", return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=3).shape[0] == 1
    assert list((trained / "model").glob("*.bin")) == []


def test_llm_changes_only_where_lora_was_merged(trained):
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(trained / "llm").state_dict()
    after = VideoLLM.load(trained / "model").model.language_model.state_dict()
    moved = set()
    for name, weight in before.items():  # but for the rows of new tokens
        if not torch.equal(after[name][: len(weight)], weight):
            moved.add(name.split(".")[-2])
    assert moved == {"q_proj", "v_proj"}


def test_an_llm_that_was_saved_in_bf16_is_trained_in_fp32(trained, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(trained / "llm").bfloat16().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(trained / "llm").save_pretrained(tmp_path)
    kinds = {p.dtype for p in build(tmp_path, TINY, seed=0).model.parameters()}
    assert kinds == {torch.float32}  # CPUs without bf16 emulate it, twenty times as slow


def test_training_moves_vit_qformer_and_projection(films, trained):
    start = build(trained / "llm", TINY, seed=0).model
    end = VideoLLM.load(trained / "model").model
    for part in ("vision_model", "qformer", "language_projection"):
        assert digest(getattr(start, part)) != digest(getattr(end, part)), part


@pytest.mark.parametrize("stage", ["contrast", "generate"])
def test_resume_after_a_kill_gives_the_same_bytes(films, trained, tmp_path, monkeypatch, stage):
    from llm4brain.checkpoint import Checkpoint

    real = Checkpoint.save

    def killed(self, epoch, *args):
        real(self, epoch, *args)
        if self.folder.name == stage and epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(films, trained / "llm", tmp_path / "work")
    monkeypatch.setattr(Checkpoint, "save", real)
    save(train(films, trained / "llm", tmp_path / "work"), tmp_path / "model", {"seed": 0})
    assert model_hash(tmp_path / "model") == model_hash(trained / "model")


def test_films_are_held_out_whole(films):
    seen = read_films(films, 2, lambda f: torch.zeros(len(f), 2, 3, 4, 4))
    assert seen.held_out.tolist() == [False] * 8 + [True] * 4


def test_words_are_shares_of_a_clips_captions():
    words = Words([["a dog runs", "a dog"], ["the dog"]], least=2)
    assert words.names == ["dog"]
    assert Words([["a b"], ["b"]], least=1).shares([["a b", "b"]]).tolist() == [[0.5, 1.0]]


def test_generated_captions_follow_the_clip_table(films, clips, trained):
    model = VideoLLM.load(trained / "model")
    table = generated_captions(model, clips, films, 2, 6, "hash")
    assert list(table.columns) == ["clip_id", "caption", "source"]
    assert table["clip_id"].tolist() == clips["clip_id"].tolist()
    back = generated_captions(model, clips[::-1], films, 2, 6, "hash")
    assert back["caption"].tolist() == table["caption"].tolist()[::-1]


def features(model, clips, films):
    parts = [make() for make in feature_batches(model, clips, films, 2)]
    assert len(parts) == 2  # one per film
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_features_follow_the_clip_table(films, clips, trained):
    model = VideoLLM.load(trained / "model")
    found = features(model, clips, films)
    assert found["vit_tokens"].shape == (4, 2, 5, 32)
    shapes = {name: (array.dtype.name, array.shape) for name, array in found.items()}
    assert feature_shapes(model, 4, 2) == shapes
    assert found["vit_tokens"].dtype == np.float16
    assert found["video_tokens"].shape == (4, 2 * 4, 32)  # queries of both frames
    again = model.video_tokens(torch.from_numpy(found["vit_tokens"]).float())
    np.testing.assert_array_equal(found["video_tokens"], again.numpy())
    back = features(model, clips[::-1], films)
    np.testing.assert_allclose(found["video_tokens"][::-1], back["video_tokens"], atol=1e-5)


def test_human_captions_join_by_film_and_onset(films, clips):
    table = human_captions(clips, films)
    assert len(table) == 8
    assert set(table["source"]) == {"human"}
    first = table[table["clip_id"] == clips["clip_id"][0]]
    assert first["caption"].tolist() == ["A cat is running.", "a cat"]


def test_missing_captions_are_one_line(films, clips, tmp_path):
    (tmp_path / "film-2.mp4").write_bytes((films / "film-2.mp4").read_bytes())
    with pytest.raises(UserError, match=r"film-2_captions\.tsv.*does not exist"):
        human_captions(clips, tmp_path)
    odd = clips.assign(onset=clips["onset"] + 0.5)
    with pytest.raises(UserError, match="has no caption of the clip"):
        human_captions(odd, films)


def test_script_exits_with_one_line_and_writes_nothing(films, clips, tmp_path):
    clips.to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    done = subprocess.run(
        [sys.executable, SCRIPTS / "captions_human.py", "--clips", tmp_path / "clips.tsv",
         "--stimuli", tmp_path, "--out", tmp_path / "out" / "human.tsv"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "human.tsv").exists()
