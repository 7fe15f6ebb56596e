"""BLIP-2 with OPT and InstructBLIP-Video with Vicuna, laid out as on the hub, behind one face."""

import importlib.util
import types

import numpy as np
import pytest
import torch
from hub_models import QUERIES, blip2_opt, instructblip_vicuna
from tiny_films import grey_films, some_clips

from llm4brain.errors import UserError
from llm4brain.sections import CaptionSettings, FitSettings, TuneSettings, VideoLLMSettings
from llm4brain.sources import resolve
from llm4brain.training import make_accelerator
from llm4brain.tune.lora import load_lora, save_lora, targets, tune
from llm4brain.tune.samples import Samples
from llm4brain.video import checkpoint
from llm4brain.video.captions import feature_batches, generated_captions
from llm4brain.video.videollm import VideoLLM

MAKERS = {"blip2": blip2_opt, "instructblip": instructblip_vicuna}
PROMPT = "describe the video"
CAPTIONS = ["a dog is running on the beach.", "the girl is jumping in red"]
FRAMES = {"blip2": 1, "instructblip": 4}  # what transformers' own forward takes


@pytest.fixture(scope="module", params=sorted(MAKERS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    home = tmp_path_factory.mktemp(kind)
    resolve(f"path:{MAKERS[kind](home / 'made')}", home / "model", PROMPT)
    return home / "model"


@pytest.fixture(scope="module")
def video(folder):
    return VideoLLM.load(folder)


@pytest.fixture(scope="module")
def theirs(kind, folder):
    import transformers

    name = {"blip2": "Blip2", "instructblip": "InstructBlipVideo"}[kind]
    made = getattr(transformers, f"{name}ForConditionalGeneration")
    model = made.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if kind == "instructblip":
        model.config.video_token_index = model.config.image_token_index
    return model


@pytest.fixture(scope="module")
def given(kind, folder, video):
    """Pixels of two clips, and what else transformers' own forward takes of them."""
    from transformers import AutoTokenizer

    frames = np.random.default_rng(0).integers(0, 256, (2, FRAMES[kind], 24, 20, 3), np.uint8)
    frames[1] //= 8
    pixels = video.pixels(frames)
    place = video.tokenizer.convert_tokens_to_ids("<image>" if kind == "blip2" else "<video>")
    ids = [place] * QUERIES * FRAMES[kind] + video.tokenizer(PROMPT)["input_ids"]
    asked = {"pixel_values": pixels[:, 0] if kind == "blip2" else pixels}
    if kind == "instructblip":
        own = AutoTokenizer.from_pretrained(folder / "qformer_tokenizer")
        asked["qformer_input_ids"] = torch.tensor(own([PROMPT] * 2)["input_ids"])
    return pixels, asked, torch.tensor([ids] * 2)


def test_the_folder_is_in_shards_and_has_a_prompt(folder, video):
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert video.prompt == PROMPT


def test_video_tokens_are_those_of_transformers(kind, video, theirs, given):
    pixels, asked, _ = given
    whole = theirs.get_image_features if kind == "blip2" else theirs.get_video_features
    with torch.no_grad():
        expected = whole(**asked, return_dict=True).pooler_output
    found = video.video_tokens(video.vit_tokens(pixels))
    assert found.shape == (2, QUERIES * FRAMES[kind], 32)
    torch.testing.assert_close(found, expected)


def test_greedy_text_is_that_of_transformers(video, theirs, given):
    pixels, asked, ids = given
    ends = {"eos_token_id": video.stops, "pad_token_id": video.stops[0]}
    more = {"max_new_tokens": 8, "do_sample": False, **ends}
    rows = theirs.generate(**asked, input_ids=ids, attention_mask=torch.ones_like(ids), **more)
    said = rows[:, ids.shape[1] :]  # what was asked stands before it
    texts = video.tokenizer.batch_decode(said, skip_special_tokens=True)
    found = video.generate(video.video_tokens(video.vit_tokens(pixels)), 8)
    assert found == [" ".join(text.split()) for text in texts]
    assert len(set(found)) == 2, "the two clips read alike, so this shows nothing"


def test_logits_of_an_answer_are_those_of_transformers(video, theirs, given):
    pixels, asked, ids = given
    logits, labels = video.answer(video.video_tokens(video.vit_tokens(pixels)), CAPTIONS)
    start = 0
    for i, caption in enumerate(CAPTIONS):
        own = video.answer_ids([caption])[0]
        shown = torch.cat([ids[:1], own], dim=1)
        one = {name: value[i : i + 1] for name, value in asked.items()}
        with torch.no_grad():
            full = theirs(**one, input_ids=shown, attention_mask=torch.ones_like(shown)).logits
        n = own.shape[1]
        assert labels[start : start + n].tolist() == own[0].tolist()
        torch.testing.assert_close(logits[start : start + n], full[0, -n - 1 : -1])
        start += n


def test_an_answer_ends_as_the_llm_was_taught(kind, video):
    ends = {"blip2": "\n", "instructblip": "</s>"}[kind]
    assert video.tokenizer.decode([video.stops[0]]) == ends
    assert len(video.stops) == 2  # and what the other place names stops it too
    row = video.answer_ids([CAPTIONS[0]])[0][0]
    asked = video.tokenizer(f"{PROMPT} {CAPTIONS[0]}")["input_ids"]
    assert [*video.tokenizer(PROMPT)["input_ids"], *row[:-1].tolist()] == asked


def test_the_instruction_changes_what_instructblip_sees(kind, folder, tmp_path, video, given):
    from shutil import copytree

    other = copytree(folder, tmp_path / "other")
    (other / "video_llm.json").write_text('{"prompt": "a cat in red"}')
    (other / "sha256.json").unlink()  # else the change would be told
    asked = VideoLLM.load(other)
    tokens = video.vit_tokens(given[0])
    same = torch.equal(asked.video_tokens(tokens), video.video_tokens(tokens))
    assert same == (kind == "blip2")


def test_weights_take_their_precision_as_they_are_read(folder):
    """As when all is read in float32 and then cast; Q-Former, queries, projection in full."""
    half, full = VideoLLM.load(folder, torch.bfloat16), VideoLLM.load(folder)
    kept = dict(full.model.named_parameters())
    for name, weight in half.model.named_parameters():
        small = name.startswith(checkpoint.FULL)
        assert weight.dtype == (torch.float32 if small else torch.bfloat16), name
        assert torch.equal(weight, kept[name].to(weight.dtype)), name
    rotary = [b for n, b in half.model.named_buffers() if n.endswith("inv_freq")]
    assert all(b.dtype == torch.float32 for b in rotary)


def test_from_films_to_decoding(kind, folder, tmp_path):
    films, clips = grey_films(tmp_path), some_clips()
    llm = VideoLLM.on(make_accelerator(1, "fp32"), folder, VideoLLMSettings())
    parts = [batch() for batch in feature_batches(llm, clips, films, 2)]
    features = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert features["vit_tokens"].shape == (4, 2, 5, 16)
    assert features["video_tokens"].shape == (4, 2 * QUERIES, 32)
    captions = generated_captions(llm, clips, films, 2, 6, "hash", CaptionSettings(samples=3))
    texts = captions.groupby("clip_id", sort=False)["caption"].agg(list)
    assert texts.index.tolist() == clips["clip_id"].tolist()
    rng = np.random.default_rng(0)
    z_f = features["video_tokens"] + 0.1 * rng.normal(size=(4, 4, 32)).astype(np.float32)
    learned = [[CAPTIONS[i % 2]] for i in range(4)]
    given = (lambda rows: rows, features["video_tokens"])
    samples = Samples(z_f, np.arange(4), np.arange(4), learned, *given)
    settings = TuneSettings(fit=FitSettings(epochs=2, batch_size=2, lr=1e-2))
    log = tune(llm, samples, samples, settings, 0, tmp_path / "ck", make_accelerator(1, "fp32"))
    assert log["val_loss"].iloc[-1] < log["val_loss"].iloc[0]
    save_lora(llm.model.language_model, tmp_path / "tune", "models/video_llm")
    again = VideoLLM.load(folder)
    before = again.generate(torch.from_numpy(z_f), 6)
    load_lora(again, tmp_path / "tune")
    assert again.generate(torch.from_numpy(z_f), 6) == llm.generate(torch.from_numpy(z_f), 6)
    assert again.generate(torch.from_numpy(z_f), 6) != before


def test_lora_goes_where_the_kind_of_llm_has_its_attention(video):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    assert targets(video.model.language_model) == ["q_proj", "v_proj"]
    shape = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    neox = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, num_attention_heads=1))
    assert targets(neox) == ["query_key_value"]
    neox.config.model_type = "unheard"
    with pytest.raises(UserError, match="unheard"):
        targets(neox)


@pytest.fixture
def asked_for(monkeypatch):
    """Where `from_pretrained` would put weights; bitsandbytes and a GPU seem to be there."""
    import transformers

    found = {}
    real = transformers.PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls, *args, quantization_config=None, device_map=None, **kwargs):
        found.update(quantization=quantization_config, device_map=device_map)
        return real(cls, *args, **kwargs)

    plain = importlib.util.find_spec
    monkeypatch.setattr(
        checkpoint.importlib.util,
        "find_spec",
        lambda name: object() if name == "bitsandbytes" else plain(name),
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(transformers, "BitsAndBytesConfig", types.SimpleNamespace)
    monkeypatch.setattr(
        transformers.PreTrainedModel, "from_pretrained", classmethod(from_pretrained)
    )
    return found


def test_quantization_is_of_the_llm_alone(folder, asked_for):
    llm = VideoLLM.load(folder, torch.bfloat16, "cpu", "4bit")
    said = asked_for["quantization"]
    assert said.load_in_4bit
    assert said.bnb_4bit_compute_dtype == torch.bfloat16
    assert {"vision_model", "qformer", "language_projection"} <= set(said.llm_int8_skip_modules)
    assert asked_for["device_map"] == {"": "cpu"}
    assert llm.placed
    assert llm.to("meta").device.type == "cpu"  # what is placed stays
    VideoLLM.load(folder, torch.bfloat16, "cpu", "8bit", "auto")
    assert asked_for["quantization"].load_in_8bit
    assert asked_for["device_map"] == "auto"


def test_a_device_map_places_the_parts(folder, asked_for):
    assert VideoLLM.load(folder, device_map="balanced").placed
    assert asked_for == {"quantization": None, "device_map": "balanced"}
    assert not VideoLLM.load(folder).placed


def test_spread_over_what_devices_there_are_it_reads_alike(folder, video):
    spread = VideoLLM.load(folder, device_map="auto")
    z = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    assert spread.generate(z.to(spread.device), 6) == video.generate(z, 6)


def test_quantization_that_is_not_to_be_had_is_one_line(folder, monkeypatch):
    with pytest.raises(UserError, match=r"4bit: needs bitsandbytes, which is not installed"):
        VideoLLM.load(folder, quantize="4bit")
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a GPU"):
        VideoLLM.load(folder, quantize="8bit")
