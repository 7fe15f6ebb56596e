"""Table 2: ablations, cohorts, the calibration curve."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, jobs, snakemake

from llm4brain.arms import cohort
from llm4brain.config import load
from llm4brain.errors import UserError
from llm4brain.evaluate.calibration import draw_calibration
from llm4brain.evaluate.names import COMPARED
from llm4brain.evaluate.table2 import COLUMNS, Cell, differs, table2
from llm4brain.io import read_json, read_table
from llm4brain.sections import EvaluateSettings

SUBJECTS = ["01", "02"]
CLIPS = [f"{film}_{4.0 * k:06.1f}" for film in ("a", "b") for k in range(20)]
ARMS = {"full": {}, "no-gap": {"tune": {"gap_weight": 0}}}
CHOSEN = EvaluateSettings(samples=200)


def system(kind, value):
    ends = {f"{m}{e}": value for m in COMPARED for e in ("", "_low", "_high", "_p")}
    return {"kind": kind, "n_clips": len(CLIPS)} | ends


def cell(arm, where, subject, value, **metrics):
    rng = np.random.default_rng(int(subject))
    said = pd.DataFrame({"clip_id": CLIPS} | {m: value + rng.normal(size=40) for m in COMPARED})
    found = {
        "systems": {"model": system("model", value), "noise": system("floor", 5.0)},
        "references_sha256": "x", "references": "human", "data": "simulated",
    } | metrics  # fmt: skip
    return Cell(arm, where, subject, cohort(where, SUBJECTS), 64.0, found, said, 0.1, 0.5)


REFERENCE = {
    s: {
        "systems": {
            "constant": system("floor", 7.0), "ridge": system("baseline", 20.0),
            "video": system("ceiling", 90.0),
        },
        "references_sha256": "x", "references": "human", "data": "simulated",
    }
    for s in SUBJECTS
}  # fmt: skip


@pytest.fixture
def cells():
    found = [cell("full", "all", s, 40.0) for s in SUBJECTS]
    found += [cell("full", f"sub-{s}", s, 30.0) for s in SUBJECTS]
    found += [cell("full", f"without-{s}", s, 10.0) for s in SUBJECTS]
    found += [cell("full", f"without-{s}-4min", s, 25.0) for s in SUBJECTS]
    return found + [cell("no-gap", "all", s, 38.0) for s in SUBJECTS]


def test_each_cell_stands_beside_floor_ridge_ceiling_and_the_full_model(cells):
    table = table2(cells, REFERENCE, ARMS, CHOSEN, 0)
    assert list(table.columns) == list(COLUMNS)
    own = table[(table["cohort"] == "without-02-4min")].iloc[0]
    assert own["part"] == "cohort"
    assert (own["minutes"], own["others"], own["training"]) == (4, 1, "without-4min")
    for metric in COMPARED:
        assert own[metric] == 25
        assert own[f"{metric}_floor"] == 7  # the highest, though it is no system of the cell
        assert (own[f"{metric}_ridge"], own[f"{metric}_ceiling"]) == (20, 90)
        assert own[f"{metric}_lead"] == pytest.approx(-15)
        assert own[f"{metric}_lead_low"] <= -15 <= own[f"{metric}_lead_high"]


def test_rows_come_by_part_and_close_with_the_mean_over_subjects(cells):
    table = table2(cells, REFERENCE, ARMS, CHOSEN, 0)
    assert list(dict.fromkeys(table["part"])) == ["full", "ablation", "cohort"]
    ablation = table[table["part"] == "ablation"]
    assert list(ablation["subject"]) == ["01", "02", "mean"]
    assert set(ablation["differs"]) == {"tune.gap_weight 0"}
    mean = table[(table["training"] == "own") & (table["subject"] == "mean")].iloc[0]
    assert (mean["cider"], mean["n_clips"], mean["minutes"]) == (30, 80, 64)
    assert np.isnan(mean["cider_low"])
    assert np.isnan(mean["cider_p"])


def test_cells_against_other_references_share_no_table(cells):
    cells.append(cell("no-gap", "sub-01", "01", 3.0, references_sha256="y"))
    with pytest.raises(UserError, match="references_sha256 differ"):
        table2(cells, REFERENCE, ARMS, CHOSEN, 0)


def test_the_full_model_must_be_among_the_cells(cells):
    with pytest.raises(UserError, match="no full model"):
        table2(cells[2:], REFERENCE, ARMS, CHOSEN, 0)


def test_what_an_arm_changes_is_told_in_words():
    assert (
        differs({"align": {"gain": 1, "fit": {"epochs": 0}}}) == "align.gain 1; align.fit.epochs 0"
    )


def test_the_calibration_curve_names_the_data_and_what_it_is_compared_with(cells):
    table = table2(cells, REFERENCE, ARMS, CHOSEN, 0)
    figure = draw_calibration(table[table["part"] != "ablation"])
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "simulated" in figure.get_suptitle()
    assert {"highest floor", "alone, all 64 min"} <= set(said)
    plt.close(figure)


def test_the_tiny_cohort_is_calibrated_to_a_stranger(tiny_run, tiny_settings):
    own = tiny_run / "stranger.yaml"
    settings = yaml.safe_load(tiny_settings.read_text())
    settings["table2"] = {"targets": ["01"], "minutes": [1]}
    own.write_text(yaml.safe_dump(settings))
    target = ("results/calibration.png", "--configfile", own)
    planned = jobs(tiny_run, *target)
    # trained: without sub-01, and sub-01 alone; and calibrated with a minute of sub-01
    assert (planned["pretrain"], planned["tune"], planned["align"]) == (2, 2, 3)
    done = snakemake(tiny_run, *target)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_table(tiny_run / "results/calibration.csv", COLUMNS)
    one = table[table["subject"] == "01"].set_index("training")
    assert list(one.index) == ["all", "own", "without", "without-1min"]
    # four train films of ten clips of 4 s, shown once
    assert one["minutes"].tolist() == pytest.approx([40 * 4 / 60] * 2 + [0, 1], abs=1e-3)
    assert one["others"].tolist() == [1, 0, 1, 1]
    metrics = read_json(tiny_run / "results/full/without-01-1min/sub-01/metrics.json")
    assert one.loc["without-1min", "cider"] == pytest.approx(
        metrics["systems"]["model"]["cider"], abs=0.005
    )
    for end in ("csv", "png"):  # else the page of other tests would ask for it with their settings
        (tiny_run / f"results/calibration.{end}").unlink()


def test_an_arm_without_adaptors_trains_and_decodes(tiny_run, tiny_settings):
    target = "results/full-gain-no-adaptors/all/sub-01/metrics.json"
    done = snakemake(tiny_run, target, "--configfile", tiny_settings)
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_table(tiny_run / "models/full-gain-no-adaptors/all/align.csv")
    assert log["gain"].tolist() == [1]
    assert not (tiny_run / "models/full-gain-no-adaptors/all/pretrain.safetensors").exists()


def test_an_arm_that_reads_as_the_full_one_is_tuned_and_put_into_words_as_it(
    tiny_run, tiny_settings
):
    gain = float(read_table(tiny_run / "models/full/all/align.csv")["gain"].iloc[0])
    settings = yaml.safe_load(tiny_settings.read_text())
    # what validation chose, and something else, by name
    settings["arms"] = {"full": {}, "told": {"align": {"gain": gain}}}
    settings["arms"]["other"] = {"align": {"gain": 0.0 if gain else 1.0}}
    (tiny_run / "twin.yaml").write_text(yaml.safe_dump(settings))
    cells = [f"results/{arm}/all/sub-01/metrics.json" for arm in ("told", "other")]
    done = snakemake(tiny_run, *cells, "--configfile", tiny_run / "twin.yaml")
    assert done.returncode == 0, done.stdout + done.stderr

    def made(arm):
        folders = (f"models/{arm}/all", f"results/{arm}/all/sub-01")
        files = ("tune.csv", "tune/adapter_model.safetensors"), ("decoded.tsv",)
        found = [tiny_run / a / b for a, names in zip(folders, files, strict=True) for b in names]
        return [file.read_bytes() for file in found]

    def said(arm):
        logs = (f"tune/{arm}/all", f"decode/{arm}/all/sub-01")
        return ["is read as in" in (tiny_run / f"logs/{log}.log").read_text() for log in logs]

    assert made("told") == made("full")
    assert said("told") == [True, True]
    assert made("other") != made("full")
    assert said("other") == [False, False]


def test_table_2_of_the_default_settings_has_every_arm_and_every_amount_of_data(tmp_path):
    planned = jobs(tmp_path, "results/table2.csv")
    settings = load(ROOT / "config.yaml")
    ablations, subjects = len(settings.arms) - 1, len(settings.subjects)
    amounts = 3 + len(settings.table2.minutes)  # alone, all, nothing, and so many minutes
    assert planned["decode"] == subjects * (ablations + amounts)
    # with minutes of the target nothing but the readout and its adaptors is fitted anew
    assert planned["tune"] == 1 + ablations + 2 * subjects
