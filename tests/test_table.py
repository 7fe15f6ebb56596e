"""From decoded captions to table 1: whole, ordered, the same bytes twice."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from leak_data import step

from llm4brain.errors import UserError
from llm4brain.evaluate import captions as caption_module
from llm4brain.evaluate.bootstrap import beats
from llm4brain.evaluate.figure import LEFT_OUT, draw, save
from llm4brain.evaluate.names import COMPARED, METRICS
from llm4brain.evaluate.retrieval import centred
from llm4brain.evaluate.scoring import score
from llm4brain.evaluate.table import COLUMNS, left_out, summary, table1, taken
from llm4brain.io import read_table, write_json, write_table
from llm4brain.sections import EvaluateSettings

KINDS = {"model": "model", "ridge": "baseline", "constant": "floor", "video": "ceiling"}
NAMES = [f"film-{f:02d}_{4 * i:06.1f}" for f in (11, 12) for i in range(30)]
SETTINGS = EvaluateSettings(n_bootstrap=200)


@pytest.fixture(autouse=True)
def _no_meteor(monkeypatch):
    """METEOR's nine seconds are spent in test_metrics."""
    monkeypatch.setattr(
        caption_module, "meteor_statistics", lambda said, *_: np.ones((len(said), 23))
    )


def bag(sentences):
    words = sorted({w for s in sentences for w in s.split()})
    rows = np.array([[s.split().count(w) for w in words] for s in sentences], dtype=float)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def parts():
    """The video says all, the model most, ridge some; the constant nothing."""
    rng = np.random.default_rng(0)
    who, what, where = "man dog cat robot girl", "runs sings sleeps eats", "park snow sea"
    scenes = [
        f"a {a} {b} in the {c}" for a, b, c in product(who.split(), what.split(), where.split())
    ]
    share = {"model": 0.8, "ridge": 0.4, "constant": 0.0, "video": 1.0}
    truth = rng.normal(size=(60, 16)).astype(np.float32)
    rows = []
    for system, kind in KINDS.items():
        right = rng.random(60) < share[system]
        rows += [
            (name, system, kind, scenes[i] if right[i] else "a thing is on the table")
            for i, name in enumerate(NAMES)
        ]
    decoded = pd.DataFrame(rows, columns=["clip_id", "system", "kind", "text"])
    readings = {
        "model": truth + rng.normal(size=truth.shape), "video": truth,
        "ridge": truth + 2 * rng.normal(size=truth.shape), "truth": truth,
    }  # fmt: skip
    readings = {name: centred(rows) for name, rows in readings.items()}
    readings["norms"] = np.linalg.norm(readings["truth"], axis=1)
    captions = pd.DataFrame(
        [(name, scenes[i] + end) for i, name in enumerate(NAMES) for end in (".", " now.")],
        columns=["clip_id", "caption"],
    )
    return decoded, readings, captions


def scored(parts, subject="01", seed=0, order=NAMES):
    decoded, readings, captions = parts
    return score(decoded, [(readings, list(order))], captions, subject, bag, SETTINGS, seed)


def metrics(scores, subject="01"):
    shared = {"subject": subject, "references": "human", "data": "simulated"}
    return {**shared, "systems": scores.systems, "differences": scores.differences}


def test_p_against_the_shuffled_null_and_diversity(parts):
    found = scored(parts).systems
    least = 1 / (1 + SETTINGS.n_permutations)
    for metric in COMPARED:
        assert found["model"][f"{metric}_p"] == pytest.approx(least)
    assert found["constant"]["cider_p"] == found["constant"]["similarity_p"] == 1
    assert found["constant"]["top1_p"] is None  # it has no reading
    assert found["constant"]["diversity"] == pytest.approx(100 / 60, abs=1e-5)
    assert found["video"]["diversity"] == 100


def test_without_meteor_its_column_has_no_number(parts):
    decoded, readings, captions = parts
    without = SETTINGS.model_copy(update={"meteor": False})
    found = score(decoded, [(readings, NAMES)], captions, "01", bag, without, 0).systems
    assert {own["meteor"] for own in found.values()} == {None}
    assert found["model"]["cider"] == scored(parts).systems["model"]["cider"]
    shared = {"subject": "01", "references": "human", "data": "measured"}
    assert set(table1({"a": {**shared, "systems": found}})["meteor"]) == {"n/a"}


def test_metrics_that_want_a_model_have_a_column_with_or_without(parts):
    """A stand-in that counts words: of the text, and of the references."""
    decoded, readings, captions = parts

    def counted(ids, systems, references):
        assert list(ids) == sorted(NAMES)
        return {k: np.array([len(t.split()) for t in own], float) for k, own in systems.items()}

    further = {"bertscore": counted, "clip_score": counted}
    given = (decoded, [(readings, NAMES)], captions, "01", bag, SETTINGS, 0)
    own = score(*given, author="video", agreement=True, further=further)
    found = own.systems
    assert found["model"]["bertscore_low"] <= found["model"]["bertscore"]
    assert found["model"]["spice"] is None
    # the author of the references is not scored against them; CLIP-score has none
    assert found["video"]["bertscore"] is None
    assert found["video"]["clip_score"] > 0
    assert found["agreement"]["bertscore"] > 0
    assert own.predictions["model"]["clip_score"].mean() == pytest.approx(
        found["model"]["clip_score"], abs=1e-5
    )
    shared = {"subject": "01", "references": "generated", "data": "measured"}
    table = table1({"a": {**shared, "systems": found}})
    rows = table.set_index(["system", "subject"])
    assert rows.loc[("model", "mean"), "bertscore"] == f"{found['model']['bertscore']:.2f}"
    assert rows.loc[("video", "mean"), "bertscore"] == "n/a"
    assert set(table["spice"]) == {"n/a"}
    assert [line.split(" is n/a")[0] for line in left_out(table)] == ["spice"]
    assert "evaluate.corenlp" in summary(table)


def test_agreement_of_the_references_is_a_ceiling_of_words(parts):
    decoded, readings, captions = parts
    given = (decoded, [(readings, NAMES)], captions, "01", bag, SETTINGS, 0)
    own = score(*given, agreement=True)
    assert own.systems["agreement"]["kind"] == "ceiling"
    assert own.systems["agreement"]["cider"] > own.systems["constant"]["cider"]
    assert own.systems["agreement"]["top1"] is None
    references = own.predictions["agreement"]["references"]
    assert json.loads(references[0]) == ["a man runs in the park now."]
    assert own.systems["model"] == scored(parts).systems["model"]
    alone = captions.drop_duplicates("clip_id")  # one caption a clip agrees with nothing
    lone = score(decoded, [(readings, NAMES)], alone, "01", bag, SETTINGS, 0, agreement=True)
    assert lone.systems["agreement"]["cider"] is None
    assert lone.systems["agreement"]["diversity"] is None


def test_scores_are_whole_and_in_order(parts):
    found = scored(parts)
    for system, kind in KINDS.items():
        own = found.systems[system]
        assert own["kind"] == kind
        assert own["n_clips"] == 60
        for metric in METRICS:
            assert own[f"{metric}_low"] <= own[metric] <= own[f"{metric}_high"]
    for metric in ("cider", "similarity", "top1"):
        values = [found.systems[s][metric] for s in ("constant", "ridge", "model", "video")]
        assert values == sorted(values)
    assert found.systems["constant"]["top5"] == pytest.approx(500 / 60)  # it has no reading
    assert found.systems["video"]["top1"] == 100
    assert set(found.differences) == {"model"}
    against = found.differences["model"]["constant"]
    assert against["cider_low"] > 0
    assert against["cider"] == pytest.approx(
        found.systems["model"]["cider"] - found.systems["constant"]["cider"], abs=1e-5
    )


def test_predictions_hold_text_references_and_each_clips_scores(parts, tmp_path):
    found = scored(parts)
    write_table(tmp_path / "model.tsv", found.predictions["model"])
    table = read_table(tmp_path / "model.tsv")
    assert list(table)[:6] == ["clip_id", "subject", "system", "kind", "text", "references"]
    assert json.loads(table["references"][0]) == [
        "a man runs in the park.",
        "a man runs in the park now.",
    ]
    assert table["cider"].mean() == pytest.approx(found.systems["model"]["cider"], abs=1e-3)
    ridge = found.predictions["ridge"]
    assert beats(table["cider"], ridge["cider"], list(table["clip_id"]))


def test_the_order_of_rows_changes_nothing(parts):
    decoded, readings, captions = parts
    order = np.random.default_rng(1).permutation(60)
    turned = {k: v[order] for k, v in readings.items()}
    again = scored((decoded, turned, captions), order=[NAMES[i] for i in order])
    assert again.systems == scored(parts).systems


def test_empty_captions_are_scored(parts):
    decoded, readings, captions = parts
    silent = decoded.assign(text=np.where(decoded["system"] == "model", "", decoded["text"]))
    found = scored((silent, readings, captions))
    assert found.systems["model"]["cider"] == 0
    assert found.systems["model"]["similarity"] == 0


def test_nobody_scores_the_words_that_are_the_references(parts):
    decoded, readings, captions = parts
    found = score(
        decoded, [(readings, NAMES)], captions, "01", bag, SETTINGS, 0, author="video"
    ).systems  # fmt: skip
    assert found["video"]["cider"] is None
    assert found["video"]["top1"] == 100
    whole = score(decoded, [(readings, NAMES)], captions, "01", bag, SETTINGS, 0, author="video")
    assert whole.predictions["video"][["cider", "similarity", "rouge_l"]].isna().all(axis=None)
    assert whole.differences["model"]["video"]["cider"] is None
    assert whole.differences["model"]["video"]["top1"] is not None
    shared = {"subject": "01", "references": "generated", "data": "measured"}
    table = table1({"a": {**shared, "systems": found}}).set_index(["system", "subject"])
    for row in (("video", "01"), ("video", "mean")):
        assert table.loc[row, "cider"] == table.loc[row, "similarity"] == "n/a"
        assert table.loc[row, "top1"] == "100.00"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d, r, c: (d, r, c[c["clip_id"] != NAMES[3]]), "no caption for 1 clips"),
        (lambda d, r, c: (d, r, c.assign(caption="")), "empty caption"),
        (lambda d, r, c: (d[1:], r, c), "does not have each of the 60 clips once"),
        (lambda d, r, c: (d.assign(kind="magic"), r, c), "has the kind magic"),
        (lambda d, r, c: (d.assign(system="truth"), r, c), "cannot be the name"),
        (lambda d, r, c: (d, r | {"model": r["model"][:9]}, c), "'model' has 9 rows for 60"),
        (lambda d, r, c: (d, r | {"truth": r["truth"][:, :9]}, c), "shapes"),
        (lambda d, r, c: (d, {"model": r["model"]}, c), "hold no array 'truth'"),
        (lambda d, r, c: (d[:0], r, c), "holds no row"),
    ],
)
def test_bad_input_is_one_clear_line(parts, spoil, said):
    with pytest.raises(UserError, match=said):
        scored(spoil(*parts))


def test_table_is_the_same_bytes_twice(parts, tmp_path):
    for name in ("a", "b"):
        for subject in ("01", "02"):
            found = scored(parts, subject, seed=int(subject))
            write_json(tmp_path / name / f"{subject}.json", metrics(found, subject))
        files = [
            tmp_path / name / f"{s}.json" for s in (("01", "02") if name == "a" else ("02", "01"))
        ]
        table = table1({str(f): json.loads(f.read_text()) for f in files})
        write_table(tmp_path / f"{name}.csv", table)
        with (tmp_path / f"{name}.png").open("wb"):
            save(draw(read_table(tmp_path / f"{name}.csv")), tmp_path / f"{name}.png")
    for suffix in ("csv", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert (tmp_path / "a/01.json").read_bytes() == (tmp_path / "b/01.json").read_bytes()


def test_table_has_a_row_a_system_and_subject_and_one_for_the_mean(parts, tmp_path):
    every = {s: metrics(scored(parts, s), s) for s in ("02", "01")}
    table = table1(every)
    assert tuple(table) == COLUMNS
    assert list(table["system"]) == [
        s for s in ("model", "ridge", "constant", "video") for _ in range(3)
    ]
    assert list(table["subject"]) == ["01", "02", "mean"] * 4
    write_table(tmp_path / "table1.csv", table)
    read = read_table(tmp_path / "table1.csv")
    mean = read[read["subject"] == "mean"]
    assert mean["cider_low"].isna().all()
    assert (mean["n_clips"] == 120).all()
    own = read[(read["system"] == "model") & (read["subject"] != "mean")]
    assert mean["cider"].iloc[0] == pytest.approx(own["cider"].mean(), abs=0.01)
    assert "model" in summary(table)


def test_what_cannot_share_a_table_is_one_clear_line(parts):
    one = metrics(scored(parts))
    with pytest.raises(UserError, match="a second time"):
        table1({"a": one, "b": one})
    with pytest.raises(UserError, match="references differ"):
        table1({"a": one, "b": one | {"subject": "02", "references": "generated"}})
    with pytest.raises(UserError, match="holds no 'systems'"):
        table1({"a": {k: v for k, v in one.items() if k != "systems"}})


def test_the_script_ends_in_one_line_and_leaves_nothing_half_written(parts, tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "table.py"
    good, broken, out = (tmp_path / name for name in ("01.json", "02.json", "table1.csv"))
    found = scored(parts)
    write_json(good, metrics(found))
    for system, table in found.predictions.items():
        write_table(tmp_path / "predictions" / f"{system}.tsv", table)
    broken.write_text("{")
    command = [sys.executable, script, "--metrics", good, "--out", out]
    command += ["--leading-out", tmp_path / "table1.json", "--seed", "0"]
    command += [
        "--lead-out",
        tmp_path / "table1_lead.csv",
        "--settings",
        '{"block_seconds":20,"n_bootstrap":99}',
    ]
    done = subprocess.run([*command, "--metrics", broken], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "02.json: is not JSON" in done.stderr
    assert list(tmp_path.glob("*table1*")) == []
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert out.exists()
    assert (tmp_path / "table1.json").exists()
    lead = read_table(tmp_path / "table1_lead.csv").set_index(["other", "metric"])
    assert lead.loc[("constant", "cider"), "low"] > 0
    assert set(lead["data"]) == {"simulated"}


RIDGES = ("ridge_plain", "ridge_gate", "ridge_surprise", "ridge_llm")


def with_ridges(parts):
    """Every ridge says and reads what ridge does."""
    decoded, readings, captions = parts
    own = decoded[decoded["system"] == "ridge"]
    more = [decoded, *(own.assign(system=name) for name in RIDGES)]
    readings = readings | dict.fromkeys(RIDGES, readings["ridge"])
    return pd.concat(more, ignore_index=True), readings, captions


def test_the_model_leads_each_ridge_and_each_option_is_held_against_plain_ridge(
    parts, tmp_path, capsys
):
    found = scored(with_ridges(parts))
    took = {"ridge": {"said": "the mean volume, gate at power 1, no surprise", "penalty": 0.316}}
    write_json(tmp_path / "01.json", metrics(found) | {"ridge": took})
    for system, table in found.predictions.items():
        write_table(tmp_path / "predictions" / f"{system}.tsv", table)
    out = {name: tmp_path / f"{name}.csv" for name in ("out", "leading_out", "lead_out")}
    step("table")(
        [tmp_path / "01.json"], **out, settings='{"block_seconds":20,"n_bootstrap":99}', seed=0
    )
    lead = read_table(out["lead_out"]).set_index(["system", "other", "metric"])
    for name in ("ridge", *RIDGES):
        assert lead.loc[("model", name, "cider"), "low"] > 0
    pairs = [(name, "ridge_plain") for name in ("ridge", "ridge_gate", "ridge_surprise")]
    for pair in (*pairs, ("ridge_llm", "ridge")):
        assert lead.loc[(*pair, "cider"), "difference"] == 0
    line = "sub-01: ridge took the mean volume, gate at power 1, no surprise, penalty 0.316"
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert taken({"a": metrics(found)}) == []


def test_the_picture_leaves_out_the_parts_of_ridge_one_by_one(parts, tmp_path):
    found = scored(with_ridges(parts))
    write_table(tmp_path / "table1.csv", table1({"a": metrics(found)}))
    table = read_table(tmp_path / "table1.csv")
    labels = [t.get_text() for t in draw(table).axes[0].get_yticklabels()]
    shown = {label.split(" ")[0] for label in labels}
    assert {"ridge", "ridge_plain", "ridge_llm"} <= shown
    assert not shown & set(LEFT_OUT)
