"""results/report.html as a reader has it: the real workflow's page, in a real Chromium."""

import shutil
import zipfile

import pytest
import report_page as made
from conftest import SCREENS, in_a_browser, jobs, snakemake

from llm4brain.io import read_json, read_table
from llm4brain.report.page import render
from llm4brain.report.pictures import Strips

PAGE = "results/report.html"
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    """A page of invented figures: 30 clips, 2 subjects, a model that says markup."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    shots = Strips(dict.fromkeys(made.CLIPS, DOT), dict.fromkeys(made.CLIPS, (3, 1)), 3, 1)
    said = made.predictions(said=made.HARM)
    path.write_text(render(**made.parts(strips=shots, predictions=said)))
    return path


@pytest.fixture(scope="module")
def finished(tiny_run, tiny_settings, tmp_path_factory):
    """A copy of the tiny run with its page, made by the workflow."""
    folder = tmp_path_factory.mktemp("report") / "tiny"
    shutil.copytree(tiny_run, folder)
    done = snakemake(folder, PAGE, "--configfile", tiny_settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


# -- the gallery


def shown(page):
    """The clips that are to be seen, in their order."""
    ids = page.locator("article:visible").evaluate_all("all => all.map(a => a.id)")
    return [name.removeprefix("clip-") for name in ids]


def press(page, name):
    page.locator("#controls").get_by_role("button", name=name, exact=True).click()


def by_score(metric, subject="01"):
    """Lowest first."""
    table = made.predictions()[subject]["model"].sort_values(metric, kind="stable")
    return table["clip_id"].tolist()


@in_a_browser
@pytest.mark.parametrize(("metric", "name"), [("cider", "CIDEr"), ("similarity", "similarity")])
def test_the_gallery_sorts_by_score_both_ways(visit, invented, metric, name):
    page = visit(invented)
    press(page, "all 30")
    press(page, name)
    assert shown(page) == by_score(metric)
    press(page, "highest first")
    assert shown(page) == by_score(metric)[::-1]
    assert page.locator("#turn").get_attribute("aria-pressed") == "true"
    press(page, "highest first")
    assert shown(page) == by_score(metric)


@in_a_browser
def test_it_opens_with_the_worst_the_middle_and_the_best(visit, invented):
    page = visit(invented)
    order = by_score("cider")
    assert shown(page) == [*order[:4], *order[13:17], *order[-4:]]
    assert "worst, middle and best), by CIDEr, lowest first" in page.locator("#status").inner_text()
    ranks = page.locator("article:visible .rank").all_inner_texts()
    assert ranks[0] == "worst: 30 of 30 by CIDEr"
    assert ranks[-1] == "best: 1 of 30 by CIDEr"


@in_a_browser
def test_film_time_and_the_shuffled_order_show_all(visit, invented):
    page = visit(invented)
    press(page, "film time")
    assert shown(page) == made.CLIPS
    press(page, "shuffled")
    mixed = shown(page)
    assert sorted(mixed) == sorted(made.CLIPS)
    assert mixed != made.CLIPS
    assert visit(invented).locator("article").count() == 30
    press(page, "worst, middle, best")
    assert len(shown(page)) == 12


@in_a_browser
def test_the_subject_is_chosen(visit, invented):
    page = visit(invented)
    press(page, "all 30")
    press(page, "sub-02")
    assert shown(page) == by_score("cider", "02") != by_score("cider", "01")
    shown_of = page.locator(".reading:visible").evaluate_all(
        "all => all.map(r => r.dataset.subject)"
    )
    assert shown_of == ["02"] * 30
    pressed = page.locator("button[data-subject][aria-pressed=true]").all_inner_texts()
    assert pressed == ["sub-02"]


@in_a_browser
def test_each_subject_of_table_1_is_shown_when_asked_for(visit, invented):
    page = visit(invented)
    rows = page.locator("#leading tr.of-one")
    assert rows.count() == 2 * len(made.SYSTEMS)
    assert not rows.first.is_visible()
    page.locator("#each").click()
    assert rows.first.is_visible()


@in_a_browser
def test_markup_that_the_model_said_does_nothing(visit, invented):
    page = visit(invented)
    press(page, "all 30")
    assert page.evaluate("window.harm") is None
    assert made.HARM in page.locator(".said-model dd").first.inner_text()


@in_a_browser
def test_without_scripts_all_is_there(visit, invented):
    page = visit(invented, java_script_enabled=False)
    assert page.locator("article:visible").count() == 30
    assert page.locator(".reading:visible").count() == 60
    assert page.locator("#leading tr.of-one").first.is_visible()
    assert not page.locator("#controls").is_visible()


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, invented, scheme):
    """WCAG's contrast of 4.5 for all text in each scheme."""
    page = visit(invented, color_scheme=scheme)
    low = page.evaluate(
        """() => {
          const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
          const light = (c) => {
            const [r, g, b] = rgb(c).map((v) => v / 255).map(
              (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
            );
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (e) => {
            for (; e; e = e.parentElement) {
              const c = getComputedStyle(e).backgroundColor;
              if (rgb(c)[3] !== 0) return c;
            }
            return "rgb(255, 255, 255)";
          };
          const wrong = [];
          for (const e of document.body.querySelectorAll("*")) {
            if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
            if (["script", "title"].includes(e.tagName.toLowerCase())) continue;
            const style = getComputedStyle(e);
            const one = light(e.tagName === "text" ? style.fill : style.color);
            const two = light(ground(e));
            const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
            if (contrast < 4.5) wrong.push([e.tagName, e.className, contrast]);
          }
          return wrong;
        }"""
    )
    assert not low


# -- the workflow's own page


def test_the_page_is_made_once_and_small(finished, tiny_settings):
    assert jobs(finished, PAGE, "--configfile", tiny_settings) == {}
    assert jobs(finished, "--configfile", tiny_settings) == {}
    assert (finished / PAGE).stat().st_size < 8e6
    text = (finished / PAGE).read_text()
    worst = read_table(finished / "results/full/all/sub-01/predictions/model.tsv")
    worst = worst.sort_values("cider").iloc[0]
    assert f'id="clip-{worst["clip_id"]}"' in text
    metrics = read_json(finished / "results/full/all/sub-01/metrics.json")
    assert metrics["references_sha256"] in text
    table = (finished / "results/table1.csv").read_text().splitlines()
    for line in table[1:]:
        for value in line.split(",")[4:14]:
            assert value in text
    assert "data:image/webp" in text
    assert "Nobody was scanned" in text


def test_another_setting_makes_the_page_anew_with_what_it_touches(finished, tiny_settings):
    more = ["--config", "evaluate={block_seconds: 12.0}"]
    found = jobs(finished, PAGE, "--configfile", tiny_settings, *more)
    assert found == {
        "score": 2, "score_reference": 2, "table": 1, "lag_sweep": 2, "brain_map": 2, "checks": 1,
        "report": 1,
    }  # fmt: skip


@in_a_browser
@pytest.mark.parametrize("size", SCREENS.values(), ids=SCREENS)
def test_the_page_of_a_run_opens_and_fits(visit, finished, size):
    page = visit(finished / PAGE, viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.locator("article:visible").count() == 10
    for each in page.locator("details").all():
        each.evaluate("e => e.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    loaded = "all => all.every(i => i.complete && i.naturalWidth > 100)"
    assert page.locator("article img").evaluate_all(loaded)
    sizes = "all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert page.locator("p, td, th, li, dd, dt, button, summary").evaluate_all(sizes) >= 12


def test_snakemake_makes_its_own_report(finished, tiny_settings):
    done = snakemake(finished, "all", PAGE, "--report", "its.zip", "--configfile", tiny_settings)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(finished / "its.zip") as kept:
        names = [name.rsplit("/", 1)[-1] for name in kept.namelist()]
    assert {"table1.csv", "table1_lead.csv", "table1.png", "report.html"} <= set(names)
    assert jobs(finished, PAGE, "--configfile", tiny_settings) == {}
