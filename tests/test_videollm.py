"""The video-LLM's face, on tiny random BLIP-2 models with OPT and with Llama as their LLM."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_models import blip2, llm

from llm4brain.errors import UserError
from llm4brain.sources import resolve
from llm4brain.video.videollm import VideoLLM

CAPTIONS = ["a dog is running on the beach.", "a cat.", "the girl is jumping in red"]


@pytest.fixture(scope="module", params=["llama", "opt"])
def video(request, tmp_path_factory) -> VideoLLM:
    folder = tmp_path_factory.mktemp(request.param)
    resolve(f"path:{blip2(folder / 'made', request.param)}", folder / "model")
    return VideoLLM.load(folder / "model")


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 4, 24, 20, 3), dtype=np.uint8)


def prefix(video, b=3):
    g = torch.Generator().manual_seed(1)
    return torch.randn(b, 8, video.model.config.text_config.hidden_size, generator=g)


def test_shapes_from_frames_to_video_tokens(video, frames):
    pixels = video.pixels(frames)
    assert pixels.shape == (3, 4, 3, 16, 16)
    tokens = video.vit_tokens(pixels)
    assert tokens.shape == (3, 4, 5, 16)
    assert video.video_tokens(tokens).shape == (3, 8, 32)


def test_one_frame_reads_as_in_blip2_itself(video, frames):
    pixels = video.pixels(frames[:, :1])
    theirs = video.model.get_image_features(pixels[:, 0], return_dict=True).pooler_output
    torch.testing.assert_close(video.video_tokens(video.vit_tokens(pixels)), theirs)


def test_frames_do_not_see_each_other(video, frames):
    tokens = video.vit_tokens(video.pixels(frames))
    whole = video.video_tokens(tokens)
    torch.testing.assert_close(whole[:, 2:4], video.video_tokens(tokens[:, 1:2]))


def test_answer_equals_the_full_model_one_caption_at_a_time(video):
    """Batching, padding and `logits_to_keep` change nothing; prompt and prefix have no loss."""
    z = prefix(video)
    logits, labels = video.answer(z, CAPTIONS)
    ids, mask = video.answer_ids(CAPTIONS)
    assert labels.tolist() == ids[mask].tolist()
    start = 0
    for i in range(len(CAPTIONS)):
        own = ids[i][mask[i]]
        assert own[-1] == 2  # the end token is learned
        context = video._context(z[i : i + 1])
        shown = torch.cat([context, video.embeddings(own[None])], dim=1)
        full = video.model.language_model(inputs_embeds=shown).logits[0]
        ignored = torch.full((context.shape[1],), -100)
        expected = F.cross_entropy(full[:-1], torch.cat([ignored, own])[1:], reduction="sum")
        mine = F.cross_entropy(
            logits[start : start + len(own)], labels[start : start + len(own)], reduction="sum"
        )
        torch.testing.assert_close(mine, expected)
        start += len(own)
    assert start == len(labels)


def test_prompt_stands_beside_the_prefix(video):
    words = video.tokenizer.decode(video.before + video.after)
    assert "describe the video" in words.lower()
    assert video.before == [] or "user" in words  # OPT has no chat template


def test_generate_equals_greedy_argmax_without_cache(video):
    z = prefix(video)
    for i, text in enumerate(video.generate(z, max_new_tokens=5)):
        shown, ids = video._context(z[i : i + 1]), []
        for _ in range(5):
            ids.append(int(video.model.language_model(inputs_embeds=shown).logits[0, -1].argmax()))
            if ids[-1] in video.stops:
                break
            shown = torch.cat([shown, video.embeddings(torch.tensor([ids[-1:]]))], dim=1)
        expected = " ".join(video.tokenizer.decode(ids, skip_special_tokens=True).split())
        assert text == expected


def test_generate_is_the_same_twice_and_in_any_batch(video):
    z = prefix(video, 5)
    once = video.generate(z, 6)
    assert once == video.generate(z, 6)
    assert once == video.generate(z, 6, batch=2)


def test_generate_takes_no_reference():
    names = set(inspect.signature(VideoLLM.generate).parameters)
    assert names == {"self", "prefix", "max_new_tokens", "batch"}


def test_gradients_reach_prefix_and_qformer_but_no_weight_of_a_loaded_model(video, frames):
    assert not any(p.requires_grad for p in video.parameters())
    tokens = video.vit_tokens(video.pixels(frames))
    layer = video.model.qformer.encoder.layer[0]
    added = torch.zeros(16, requires_grad=True)
    hook = layer.register_forward_hook(lambda _, __, out: out + added)
    logits, labels = video.answer(video.video_tokens(tokens), CAPTIONS)
    F.cross_entropy(logits, labels).backward()
    hook.remove()
    assert added.grad.abs().sum() > 0


def test_bf16_keeps_qformer_in_fp32(video, tmp_path):
    video.model.save_pretrained(tmp_path)
    video.tokenizer.save_pretrained(tmp_path)
    video.image_processor.save_pretrained(tmp_path)
    half = VideoLLM.load(tmp_path, torch.bfloat16)
    assert half.model.language_model.dtype == torch.bfloat16
    assert half.model.query_tokens.dtype == torch.float32
    logits, _ = half.answer(prefix(half), CAPTIONS)
    assert logits.isfinite().all()
    assert len(half.generate(prefix(half), 3)) == 3


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither BLIP-2 nor InstructBLIP"):
        VideoLLM.load(llm(tmp_path / "llm"))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def _spoilt(path, change):
    held = load_file(path)
    change(held)
    save_file(held, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut, "holds weights that are cut"),
        (
            lambda path: _spoilt(path, lambda held: held.pop("query_tokens")),
            "lacks the weights query_tokens; get the whole model",
        ),
        (
            lambda path: _spoilt(path, lambda held: held.update(query_tokens=torch.ones(1, 3, 4))),
            "holds weights of other shapes than its config.json says",
        ),
        (
            lambda path: _spoilt(path, lambda held: held["query_tokens"].fill_(torch.nan)),
            "holds NaN or infinite values in query_tokens",
        ),
    ],
)
def test_weights_that_are_not_whole_are_named(tmp_path, spoil, said):
    folder = blip2(tmp_path / "made", "llama")
    spoil(folder / "model.safetensors")
    with pytest.raises(UserError, match=said):
        VideoLLM.load(folder)
