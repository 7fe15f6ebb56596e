"""BERTScore and CLIP-score on tiny models, each equal to its definition written out plainly."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from PIL import Image
from typer.testing import CliRunner

from llm4brain.cli import app
from llm4brain.errors import UserError
from llm4brain.evaluate import bertscore as bertscore_module
from llm4brain.evaluate import captions as caption_module
from llm4brain.evaluate.bertscore import bertscore, token_states
from llm4brain.evaluate.clipscore import Clip, clip_score, seen
from llm4brain.evaluate.optional_metrics import measures, of_films, of_pictures
from llm4brain.io import read_json
from llm4brain.video.frames import clip_frames

SAID = ["a dog is running on the beach", "the girl", "", "a red cat jumping", "dogs zebra"]
TRUTH = [
    ["a dog running", "the dog is on a beach ."],
    ["a girl"],
    ["the moon"],
    ["a blue cat is jumping", "a cat", "a red cat jumping"],
    ["the dog"],
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_models.bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_models.clip(tmp_path_factory.mktemp("models") / "clip")


def plain_f1(folder, layer, caption, reference):
    """One pair by the paper's equations, one sentence at a time, with loops."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    sides = []
    for text in (caption, reference):
        given = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**given, output_hidden_states=True).hidden_states[layer][0]
        sides.append(list(states))

    def matched(own, other):  # [CLS] and [SEP] are matched, but not counted
        best = [max(torch.cosine_similarity(x, y, dim=0).item() for y in other) for x in own]
        return sum(best[1:-1]) / len(best[1:-1])

    precision, recall = matched(*sides), matched(*sides[::-1])
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [1, 2])
def test_bertscore_is_the_best_f1_over_the_references(bert, layer):
    found = bertscore({"own": SAID}, {"own": TRUTH}, token_states(bert, layer))["own"]
    expected = [
        max(plain_f1(bert, layer, said, truth) for truth in own) if said else 0
        for said, own in zip(SAID, TRUTH, strict=True)
    ]
    np.testing.assert_allclose(found, 100 * np.array(expected), atol=1e-3)
    assert found[2] == 0  # says nothing
    assert found[3] == pytest.approx(100)  # word for word


def test_bertscore_does_not_depend_on_what_else_is_scored(bert):
    alone = bertscore({"a": SAID}, {"a": TRUTH}, token_states(bert, 2, batch=2))["a"]
    systems = {"a": SAID, "b": SAID[::-1]}
    both = bertscore(systems, dict.fromkeys(systems, TRUTH), token_states(bert, 2))
    np.testing.assert_allclose(both["a"], alone, atol=1e-4)
    again = bertscore(systems, dict.fromkeys(systems, TRUTH), token_states(bert, 2))
    assert np.array_equal(both["b"], again["b"])


def test_the_layer_is_that_of_the_original_where_it_names_one(bert, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is a bert of 2 layers, of which bert-score names none"):
        token_states(bert)
    with pytest.raises(UserError, match="has 2 layers, not 3"):
        token_states(bert, 3)
    monkeypatch.setitem(bertscore_module.LAYERS, ("bert", 2), 1)
    first = bertscore({"a": SAID}, {"a": TRUTH}, token_states(bert))["a"]
    assert np.array_equal(first, bertscore({"a": SAID}, {"a": TRUTH}, token_states(bert, 1))["a"])
    with pytest.raises(UserError, match="does not exist"):
        token_states(tmp_path, 1)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 2}')
    with pytest.raises(UserError, match="holds no encoder"):
        token_states(tmp_path, 1)


def test_a_caption_longer_than_the_encoder_reads_is_cut(bert):
    long = "a dog " * 60
    found = bertscore({"a": [long]}, {"a": [[long]]}, token_states(bert, 2))["a"]
    assert found[0] == pytest.approx(100)


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return [list(rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)) for _ in range(count)]


def test_clip_score_is_the_papers(clip):
    """2.5 max(cos, 0), mean over frames, of the model's own joint forward."""
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip), AutoTokenizer.from_pretrained(clip)
    processor, pictures = CLIPImageProcessor.from_pretrained(clip), frames(len(SAID))
    ours = Clip(clip)
    found = clip_score({"own": SAID}, seen(ours, pictures), ours)["own"]
    for i, said in enumerate(SAID):
        if not said:
            assert found[i] == 0
            continue
        with torch.no_grad():
            out = model(
                **processor(pictures[i], return_tensors="pt"),
                input_ids=tokenizer(f"A photo depicts {said}", return_tensors="pt")["input_ids"],
            )
        cosines = torch.cosine_similarity(out.image_embeds, out.text_embeds).numpy()
        assert found[i] == pytest.approx(100 * np.mean(2.5 * np.maximum(cosines, 0)), abs=1e-3)
    same = clip_score({"own": SAID}, seen(ours, pictures[:1] * len(SAID)), ours)["own"]
    assert len(set(same.round(3))) > 3  # words are read


def test_clip_score_may_see_any_number_of_frames(clip):
    ours, pictures = Clip(clip), frames(2)
    uneven = [pictures[0], pictures[1][:1]]
    found = clip_score({"a": SAID[:2]}, seen(ours, uneven), ours)["a"]
    alone = clip_score({"a": SAID[1:2]}, seen(ours, uneven[1:]), ours)["a"]
    assert found[1] == pytest.approx(alone[0], abs=1e-4)


def test_another_model_is_no_clip(bert, tmp_path):
    with pytest.raises(UserError, match="is a bert model, not CLIP"):
        Clip(bert)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="is not a whole CLIP"):
        Clip(tmp_path)


def test_frames_of_films_are_those_the_video_model_sees(tmp_path):
    import av

    with av.open(str(tmp_path / "film-01.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=5)
        stream.width = stream.height = 32
        for i in range(40):
            picture = np.full((32, 32, 3), 6 * i, dtype=np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    names = ["film-01_0000.0", "film-01_0004.0"]
    columns = {"clip_id": names, "stim_file": "film-01.mp4", "onset": [0.0, 4.0], "duration": 4.0}
    read = of_films(pd.DataFrame(columns), tmp_path, 2)
    for clip, own in zip(names[::-1], read(names[::-1]), strict=True):
        onset = float(clip.split("_")[1])
        np.testing.assert_array_equal(
            np.stack(own), clip_frames(tmp_path / "film-01.mp4", onset, 4.0, 2)
        )
    with pytest.raises(UserError, match="lacks 1 clips, such as film-02"):
        read(["film-02_0000.0"])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Caption files and pictures; METEOR's nine seconds are spent in test_metrics."""
    monkeypatch.setattr(
        caption_module, "meteor_statistics", lambda said, *_: np.ones((len(said), 23))
    )
    pictures = tmp_path / "frames"
    for i, own in enumerate(frames(len(SAID))):
        (pictures / str(i)).mkdir(parents=True)
        for k, frame in enumerate(own):
            Image.fromarray(frame).save(pictures / str(i) / f"{k}.png")
    (tmp_path / "p.json").write_text(json.dumps(dict(enumerate(SAID))))
    (tmp_path / "r.json").write_text(json.dumps(dict(enumerate(TRUTH))))
    return tmp_path


def scored(files, *more):
    given = [("--predictions", "p"), ("--references", "r"), ("--out", "m")]
    command = [w for option, name in given for w in (option, str(files / f"{name}.json"))]
    return CliRunner().invoke(app, ["score", *command, "--sentence-model", "none", *more])


def test_the_command_scores_with_both_and_gives_intervals(files, bert, clip):
    more = ["--bertscore", f"path:{bert}", "--bertscore-layer", "2", "--n-bootstrap", "50"]
    more += ["--clip-model", f"path:{clip}", "--frames", str(files / "frames")]
    done = scored(files, *more)
    assert done.exit_code == 0, done.output
    found = read_json(files / "m.json")
    for metric in ("bertscore", "clip_score"):
        assert found[f"{metric}_low"] < found[metric] < found[f"{metric}_high"]
    ours, pictures = Clip(clip), frames(len(SAID))
    expected = clip_score({"a": SAID}, seen(ours, pictures), ours)["a"].mean()
    assert found["clip_score"] == pytest.approx(expected, abs=1e-5)
    assert found["provenance"]["settings"]["bertscore"] == f"path:{bert}"
    before = (files / "m.json").read_bytes()
    scored(files, *more)
    assert (files / "m.json").read_bytes() == before


def test_without_them_the_figures_are_not_there(files):
    assert scored(files, "--n-bootstrap", "0").exit_code == 0
    assert not {"bertscore", "clip_score"} & set(read_json(files / "m.json"))


def test_pictures_that_are_missing_or_none_are_one_line(files, clip):
    model = ["--clip-model", f"path:{clip}"]
    assert "give both or neither" in scored(files, *model).output
    (files / "frames" / "3" / "0.png").write_text("no picture")
    said = scored(files, *model, "--frames", str(files / "frames")).output
    assert "is not a picture" in said.replace("\n", " ")
    with pytest.raises(UserError, match="has no picture of 1 clips, such as 9"):
        of_pictures(files / "frames")(["0", "9"])
    with pytest.raises(UserError, match="is not a folder"):
        of_pictures(files / "nowhere")(["0"])


def test_nothing_is_measured_that_no_setting_names():
    assert measures() == {}
