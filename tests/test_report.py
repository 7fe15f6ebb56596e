"""results/report.html: true to the tables, whole in itself, honest about what is bad."""

import base64
import doctest
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import report_page as made
import yaml
from conftest import ROOT
from PIL import Image

from llm4brain.config import check
from llm4brain.errors import UserError
from llm4brain.evaluate.table import table1
from llm4brain.report import cells as written
from llm4brain.report import draw, glossary, pictures
from llm4brain.report.arms import arms
from llm4brain.report.findings import findings
from llm4brain.report.page import render
from llm4brain.report.pictures import Strips, picture, strips

LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
LOADS |= {"object": "data", "embed": "src", "video": "src", "audio": "src", "image": "href"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of each row of each table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.words, self._open = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append((dict(attrs), []))
        if tag in ("td", "th"):
            self.rows[-1][1].append("")
            self._open = tag

    def handle_endtag(self, tag):
        if tag == self._open:
            self._open = None

    def handle_data(self, data):
        self.words.append(data)
        if self._open:
            self.rows[-1][1][-1] += data


@pytest.fixture(scope="module")
def text():
    return render(**made.parts())


def test_nothing_is_loaded_from_anywhere(text):
    for tag, attributes in Page(text).tags:
        if tag in LOADS:
            assert attributes.get(LOADS[tag], "data:").startswith("data:"), (tag, attributes)
        assert not [k for k in attributes if k.startswith("on") or k == "style"], (tag, attributes)
        if tag == "a":
            assert attributes["href"].startswith("#")
    assert not re.search(r"@import|url\(|https?://", text)


def test_its_own_policy_allows_its_own_style_and_script_alone(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_anchor_leads_to_a_part(text):
    tags = Page(text).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in tags if tag == "a"} <= set(ids)


def test_table_1_is_that_of_the_file(text):
    table = table1(made.scored())
    rows = {(a["data-system"], a.get("data-subject", "mean")): cells
            for a, cells in Page(text).rows if "data-system" in a}  # fmt: skip
    assert len(rows) == len(table)
    for row in table.to_dict("records"):
        cells = rows[row["system"], row["subject"]]
        for place, metric in enumerate(("cider", "similarity", "top1")):
            expected = row[metric]
            if row["subject"] != "mean":
                expected += f" [{row[f'{metric}_low']}, {row[f'{metric}_high']}]"
            assert cells[1 + 2 * place] == expected
    # and every other column, cell by cell
    full = [cells for _, cells in Page(text).rows if len(cells) == len(table.columns) - 6]
    assert len(full) == 1 + len(table)
    said = " ".join(" ".join(cells) for cells in full)
    for column in table:
        for value in table[column]:
            assert value in said or value == "n/a", (column, value)


def test_floors_are_shaded_and_kinds_are_named(text):
    kinds = [a["class"] for tag, a in Page(text).tags if tag == "tbody" and "class" in a]
    assert kinds == [f"kind-{k}" for k in ("model", "baseline", "floor", "control", "ceiling")]


def test_simulated_is_said_of_simulated_data_alone(text):
    assert "<title>Text decoded from simulated BOLD: the phantom</title>" in text
    assert "Simulated data.</strong> Nobody was scanned" in text
    found = made.scored(data="measured")
    settings = made.load("config.yaml").model_copy(
        update={"dataset": "bids", "bids_dir": "/data/nice-study"}
    )
    table = table1(found)
    lead = made.cells(made.lead().assign(data="measured"))
    measured = render(**made.parts(scored=found, table=table, lead=lead, settings=settings))
    above = measured[: measured.index('id="settings"')]
    assert "imulated" not in re.sub(r"<style>.*?</style>", "", above, flags=re.DOTALL)
    assert "BOLD of people watching films: nice-study</title>" in measured


def test_captions_of_a_model_are_called_so():
    found = made.scored(references="generated")
    assert "captions that the video-LLM wrote itself" in render(
        **made.parts(scored=found, table=table1(found))
    )


def test_markup_in_a_caption_stays_text():
    text = render(**made.parts(predictions=made.predictions(said=made.HARM)))
    assert made.HARM not in text
    assert "&lt;script&gt;window.harm" in text
    tags = [tag for tag, _ in Page(text).tags]
    assert tags.count("script") == 1
    assert "img" not in tags


def test_all_clips_are_there_the_worst_with_the_best(text):
    tags = Page(text).tags
    shown = [a["id"] for tag, a in tags if tag == "article"]
    assert shown == [f"clip-{clip}" for clip in made.CLIPS]
    for subject, systems in made.predictions().items():
        own = [a for _, a in tags if a.get("class") == "reading" and a["data-subject"] == subject]
        scores = systems["model"]["cider"].tolist()
        assert [float(a["data-cider"]) for a in own] == pytest.approx(scores, rel=1e-5)
    places = [int(a["data-place"]) for tag, a in tags if tag == "article"]
    assert sorted(places) == list(range(len(made.CLIPS)))
    assert places != sorted(places)
    for said in ("From the brain", "Ridge", "From the film", "Floor: no brain"):
        assert text.count(f">{said}</dt>") == 1 + len(made.CLIPS) * len(made.SUBJECTS)


def test_a_subject_who_lacks_a_clip_is_shown_without_it():
    said = made.predictions()
    said["02"] = {name: table.iloc[1:] for name, table in said["02"].items()}
    first, second = made.parts(predictions=said)["cards"][:2]
    assert [r.subject for r in first.readings] == ["01"]
    assert [r.subject for r in second.readings] == ["01", "02"]


@pytest.mark.parametrize(
    ("ends", "sentence", "cautious"),
    [
        ({}, "In CIDEr it leads ridge for both subjects.", False),
        ({"cider": [(-1, 2), (-3, 1)]}, "In CIDEr no lead over ridge is shown", False),
        ({"cider": [(-5, -2), (-3, -1)]}, "In CIDEr it is worse than ridge for both", False),
        (
            {"cider": [(1, 2), (-3, 1)]},
            "it leads ridge for sub-01; for sub-02 no lead is shown (the",
            False,
        ),
        ({"top1": [(-1, 2), (-3, 1)]}, "In top-1 no lead over ridge is shown", True),
        ({"top1": [(-9, -2), (-3, 1)]}, "worse than ridge for sub-01; for sub-02 no lead is", True),
        ({m: [(0, 0)] * 2 for m in ("cider", "similarity", "top1")}, "every interval", False),
    ],
)
def test_what_is_said_follows_from_the_lead(ends, sentence, cautious):
    table = written.numeric(table1(made.scored()))
    found = findings(table, made.lead(**ends), films=2)
    assert sentence in " ".join(v.sentence for v in found.verdicts)
    assert bool(found.caution) == cautious
    assert found.floor == "constant"
    assert found.result.startswith(
        "In CIDEr the model scores 150 on average, above the strongest floor, constant (58), "
        "above ridge (110) and below the same LLM watching the film itself (360)."
    )


def test_a_model_below_its_floor_is_said_to_be():
    found = made.scored()
    for metrics in found.values():
        metrics["systems"]["model"]["cider"] = 3.0
        metrics["systems"]["video"]["cider"] = None
    ends = made.lead()
    ends.loc[ends["other"] == "constant", ["low", "high"]] = -60.0, -50.0
    result = findings(written.numeric(table1(found)), ends, films=2).result
    assert "scores 3 on average, below the strongest floor, constant (58) and below ridge" in result
    assert "watching the film" not in result


def test_a_table_without_model_is_one_line():
    found = made.scored()
    for metrics in found.values():
        del metrics["systems"]["model"]
    with pytest.raises(UserError, match="holds no system `model`"):
        findings(written.numeric(table1(found)), made.lead(), films=2)


def test_what_is_not_made_is_named_with_its_command(text, tmp_path):
    for stem in glossary.PARTS:
        assert f"snakemake --cores 8 results/{stem}." in text
        assert f'id="{stem}"' not in text
    Image.new("RGB", (40, 20)).save(tmp_path / "snr.png")
    table = pd.DataFrame({"snr": [0.1], "cider": [12.3], "cider_low": [9.87],
                          "cider_high": [15.0], "cider_p": [0.02]})  # fmt: skip
    more = {
        "table2": ([made.cells(made.table2())], []),
        "snr": ([made.cells(table)], [picture(tmp_path / "snr.png")]),
    }
    more_text = render(**made.parts(more=more))
    assert "results/table2.csv" not in more_text
    assert "snakemake --cores 8 results/calibration.png" in more_text
    assert ["0.1", "12.3 [9.87, 15]", "0.02"] in [r for _, r in Page(more_text).rows]
    assert more_text.count('width="40" height="20"') == 1


def test_table_2_is_drawn_between_floor_and_ceiling():
    found = arms(made.cells(made.table2())).groups
    rows = {row.name: row for group in found for row in group.rows}
    assert [group.title.split(":")[0] for group in found] == [
        "The full arm, trained on every subject", "Arms", "Linear baselines", "Cohorts"
    ]  # fmt: skip
    names = ["full", "ridge", "highest floor", "video"]
    names += ["no-gap", "untrained", "ridge_gate", "the others"]
    names += ["the others and 4 min without captions", "4 min alone"]
    assert list(rows) == names
    assert rows["highest floor"].kind == "floor"
    assert rows["highest floor"].cells[0].text == "11"
    assert "mean 50; sub-01 52 [43, 61]; sub-02 48 [39, 57]" in rows["full"].cells[0].drawing
    loud = made.table2()
    loud.loc[0, "cider_ridge"] = 900.0  # words of train captions may beat the film's
    assert arms(made.cells(loud)).axes["cider"] == "0 to 1000"
    said = {name: row.lead.text for name, row in rows.items()}
    assert (said["full"], said["no-gap"], said["untrained"]) == ("", "as full", "1 behind, 1 level")
    assert said["the others and 4 min without captions"] == "2 ahead"  # of 4 min alone
    assert said["4 min alone"] == ""
    assert rows["untrained"].about == "of untrained"
    text = render(**made.parts(more={"table2": ([made.cells(made.table2())], [])}))
    assert "Every column, every subject (21 rows, as in table2.csv)" in text
    assert '<tr class="of-mean kind-floor">' in text


def test_maps_and_checks_are_shown_where_there_are_some(text, tmp_path):
    assert 'id="maps"' not in text
    Image.new("RGB", (3000, 300)).save(tmp_path / "map.png")
    maps = {"01": picture(tmp_path / "map.png")}
    checks = [made.cells(pd.DataFrame({"check": ["peak"], "passed": [True], "r": [0.5]}))]
    shown = render(**made.parts(maps=maps, checks=checks))
    assert 'width="1600" height="160" alt="Brain map of sub-01"' in shown
    assert ["peak", "True", "0.5"] in [r for _, r in Page(shown).rows]


def test_the_kept_epoch_and_the_trained_lag_are_marked(text):
    assert "Kept: epoch 1 of 2; validation loss 3 before training, 1.5 after." in text
    assert "kept epoch at 1" in text
    assert "trained at 6" in text
    assert "Best at 6 s: 30% of 30 clips found, chance is 3.3%." in text


def test_the_configuration_makes_the_same_run_again(text):
    (inside,) = re.findall(r'id="configuration">(.*?)</pre>', text, re.DOTALL)
    assert check(yaml.safe_load(inside.replace("&#39;", "'"))) == made.load("config.yaml")
    assert "f00d" * 16 in text


def test_the_same_run_gives_the_same_bytes(text):
    assert render(**made.parts()) == text


def frames_of(monkeypatch, edge=200):
    """Frames of noise, which no codec makes small."""

    def noise(path, clips, frames):
        draw = np.random.default_rng(len(clips))
        return draw.integers(0, 256, (len(clips), frames, edge, 2 * edge, 3), dtype=np.uint8)

    monkeypatch.setattr(pictures, "film_frames", noise)
    return [pictures.Path(f"film-{f}.mp4") for f in (11, 12)]


def test_each_clip_has_its_frames_once_and_as_large_as_there_is_room(monkeypatch):
    films = frames_of(monkeypatch)
    roomy = strips(films, made.clip_table(), room=pictures.PAGE)
    assert list(roomy.uris) == made.CLIPS
    assert roomy.sizes[made.CLIPS[0]] == (3 * 128, 64)
    text = render(**made.parts(strips=roomy))
    assert text.count("data:image/webp") == len(made.CLIPS)
    assert 'alt="3 frames of film-11 from 0 to 4 s"' in text
    small = strips(films, made.clip_table(), room=15_000)
    assert small.frames < 3
    assert sum(map(len, small.uris.values())) <= 15_000
    none = strips(films, made.clip_table(), room=0)
    assert list(none.uris) == made.CLIPS  # too little room leaves none out
    assert isinstance(none, Strips)


def test_films_in_folders_are_found_by_all_of_their_path(monkeypatch):
    frames_of(monkeypatch)
    clips = made.clip_table()
    clips["stim_file"] = [f"a b/{name}" for name in clips["stim_file"]]
    films = [pictures.Path(f"{folder}/film-{f}.mp4") for f in (11, 12) for folder in ("a b", "c")]
    assert list(strips(films, clips, room=15_000).uris) == made.CLIPS
    with pytest.raises(UserError, match=r"a b/film-11\.mp4: is shown in clips but not given"):
        strips(films[1:], clips, room=1)


def test_a_film_that_is_not_given_is_one_line():
    with pytest.raises(UserError, match=r"film-11\.mp4: is shown in clips but not given"):
        strips([], made.clip_table(), room=1)


def test_without_films_the_page_says_so(text):
    assert "The films are not at hand, so no frames are shown." in text


def test_numbers_that_are_none_draw_nothing():
    nothing = draw.Interval("sub-01", float("nan"))
    assert "no number" in draw.intervals([nothing], (0.0, 1.0))
    flat = draw.curve([draw.Series("loss", [0, 1], [2.0, float("nan")])], "epoch", "loss")
    assert "NaN" not in flat
    assert "nan" not in flat


@pytest.mark.parametrize("module", [draw, written, glossary])
def test_examples_in_docstrings(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


def test_templates_are_part_of_the_package():
    said = (ROOT / "pyproject.toml").read_text()
    assert '"llm4brain.report" = ["templates/*"]' in said
