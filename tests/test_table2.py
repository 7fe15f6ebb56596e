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
from llm4brain.evaluate.paired import holm
from llm4brain.evaluate.table2 import COLUMNS, RIDGES, Cell, differs, table2
from llm4brain.io import read_json, read_table, write_table
from llm4brain.sections import EvaluateSettings

SUBJECTS = ["01", "02"]
CLIPS = [f"{film}_{4.0 * k:06.1f}" for film in ("a", "b") for k in range(20)]
ARMS = {"full": {}, "no-gap": {"tune": {"gap_weight": 0}}}
SETTINGS = EvaluateSettings(n_bootstrap=200, n_permutations=999)
CHOSEN = {"alpha": 0.7, "power": 1.0, "coupling": 0.5}


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
    who, chosen = cohort(where, SUBJECTS), {} if arm in RIDGES else CHOSEN
    if arm in RIDGES:
        found["systems"] = {arm: system("baseline", value)}
    return Cell(arm, where, subject, who, 64.0, found, said, chosen)


WAYS = {"": 25.0, "-functional": 28.0, "-unlabelled": 22.0, "-alone": 15.0}

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
    for how, value in WAYS.items():
        found += [cell("full", f"without-{s}-4min{how}", s, value) for s in SUBJECTS]
    found += [cell("ridge_plain", f"sub-{s}", s, 20.0) for s in SUBJECTS]
    found += [cell("ridge_gate", f"sub-{s}", s, 23.0) for s in SUBJECTS]
    return found + [cell("no-gap", "all", s, 38.0) for s in SUBJECTS]


def test_each_cell_stands_beside_floor_ridge_ceiling_and_the_full_model(cells):
    table = table2(cells, REFERENCE, ARMS, SETTINGS, 0)
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
    table = table2(cells, REFERENCE, ARMS, SETTINGS, 0)
    assert list(dict.fromkeys(table["part"])) == ["full", "ablation", "ridge", "cohort"]
    ablation = table[table["part"] == "ablation"]
    assert list(ablation["subject"]) == ["01", "02", "mean"]
    assert set(ablation["differs"]) == {"tune.gap_weight 0"}
    means = table[(table["training"] == "own") & (table["subject"] == "mean")]
    mean = means.set_index("arm").loc["full"]
    assert (mean["cider"], mean["n_clips"], mean["minutes"]) == (30, 80, 64)
    assert np.isnan(mean["cider_low"])
    assert np.isnan(mean["cider_p"])


def test_minutes_of_a_stranger_lead_the_same_minutes_alone(cells):
    table = table2(cells, REFERENCE, ARMS, SETTINGS, 0)
    own = table[table["subject"] == "02"].set_index("training")
    for how, value in WAYS.items():
        row = own.loc[f"without-4min{how}"]
        assert (row["how"], row["minutes"]) == (how[1:] or "coupled", 4)
        if how == "-alone":
            assert np.isnan(row["cider_alone_lead"])
            continue
        assert row["cider_alone_lead"] == pytest.approx(value - 15)
        assert 0 < row["cider_alone_lead_low"] <= value - 15
        assert row["cider_alone_lead_p"] < 0.02  # of 2 in 2 ** 8, which 8 blocks can have
    assert own["cider_alone_lead"].notna().sum() == 3
    # people are coupled in no other way
    coupled = ["all", "own", "without", "without-4min", "without-4min-functional"]
    model = own[own["arm"] == "full"]
    assert list(model.index[model["coupling"].notna()]) == coupled
    mean = table[(table["training"] == "without-4min") & (table["subject"] == "mean")].iloc[0]
    assert mean["cider_alone_lead"] == pytest.approx(10)
    assert np.isnan(mean[["cider_alone_lead_low", "cider_alone_lead_p"]].to_numpy(float)).all()


def test_what_is_added_to_ridge_leads_the_plain_one(cells):
    table = table2(cells, REFERENCE, ARMS, SETTINGS, 0)
    own = table[(table["part"] == "ridge") & (table["subject"] == "01")].set_index("arm")
    assert list(own.index) == ["ridge_plain", "ridge_gate"]
    assert own.loc["ridge_gate", ["over", "cider_lead"]].tolist() == ["ridge_plain", 3]
    assert np.isnan(own.loc["ridge_plain", "cider_lead"])
    assert own["cider_floor"].tolist() == [7, 7]
    alone = [c for c in cells if c.arm != "ridge_plain"]
    left = table2(alone, REFERENCE, ARMS, SETTINGS, 0).set_index("arm")
    assert left.loc["ridge_gate", "cider_lead"].isna().all()


def test_p_is_corrected_for_all_leads_of_the_metric(cells):
    table = table2(cells, REFERENCE, ARMS, SETTINGS, 0)
    own = table[table["subject"] != "mean"]
    for metric in COMPARED:
        names = [f"{metric}_{name}" for name in ("lead", "alone_lead")]
        p, corrected = (own[[f"{n}{e}" for n in names]].to_numpy(float) for e in ("_p", "_holm"))
        # of two subjects: 8 leads over full or plain ridge each, 3 over the same minutes alone
        assert np.isfinite(p).sum() == 2 * (8 + 3)
        np.testing.assert_allclose(corrected.ravel(), holm(p.ravel()), atol=1e-6)


def test_cells_against_other_references_share_no_table(cells):
    cells.append(cell("no-gap", "sub-01", "01", 3.0, references_sha256="y"))
    with pytest.raises(UserError, match="references_sha256 differ"):
        table2(cells, REFERENCE, ARMS, SETTINGS, 0)


def test_the_full_model_must_be_among_the_cells(cells):
    with pytest.raises(UserError, match="no full model"):
        table2(cells[2:], REFERENCE, ARMS, SETTINGS, 0)


def test_what_an_arm_changes_is_told_in_words():
    assert (
        differs({"align": {"alpha": 0, "fit": {"epochs": 0}}})
        == "align.alpha 0; align.fit.epochs 0"
    )


def test_the_calibration_curve_has_five_lines_between_floor_and_ceiling(cells, tmp_path):
    write_table(tmp_path / "table.csv", table2(cells, REFERENCE, ARMS, SETTINGS, 0))
    table = read_table(tmp_path / "table.csv", COLUMNS)
    figure = draw_calibration(table[table["part"].isin(["full", "cohort"])])
    said = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "simulated" in figure.get_suptitle()
    assert {"highest floor", "the subject alone, all 64 min"} <= set(said)
    for ax in figure.axes:
        lines = {line.get_label(): line for line in ax.lines}
        ways = [line for name, line in lines.items() if name.startswith("minutes")]
        # at no minutes at all there is the part that others share, and nothing else
        points = [line.get_ydata().tolist() for line in ways]
        assert points == [[28], [10, 25], [22], [], [15]]
        assert lines["ceiling: the video through the LLM"].get_ydata()[0] == 90
        assert lines["highest floor"].get_ydata()[0] == 7
        # an interval for each subject and point
        assert sum(len(bars.get_segments()) for bars in ax.collections) == 2 * 5
    plt.close(figure)


@pytest.mark.long
def test_the_tiny_cohort_is_calibrated_to_a_stranger(tiny_run, tiny_settings):
    own = tiny_run / "stranger.yaml"
    settings = yaml.safe_load(tiny_settings.read_text())
    settings["table2"] = {"targets": ["01"], "minutes": [1]}
    own.write_text(yaml.safe_dump(settings))
    target = ("results/calibration.png", "--configfile", own)
    planned = jobs(tiny_run, *target)
    # trained: without sub-01, and sub-01 alone; and calibrated, in four ways, with a minute of it
    assert [planned[rule] for rule in ("pretrain", "align", "tune", "calibrate")] == [2, 2, 2, 4]
    done = snakemake(tiny_run, *target)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_table(tiny_run / "results/calibration.csv", COLUMNS)
    one = table[table["subject"] == "01"].set_index("training")
    ways = ["", "-functional", "-unlabelled", "-alone"]
    assert list(one.index) == ["all", "own", "without", *(f"without-1min{how}" for how in ways)]
    # four train films of ten clips of 4 s, shown once
    assert one["minutes"].tolist() == pytest.approx([40 * 4 / 60] * 2 + [0, *[1] * 4], abs=1e-3)
    assert one["others"].tolist() == [1, 0, *[1] * 5]
    assert np.isfinite(one.loc["without-1min", "cider_alone_lead_holm"])
    metrics = read_json(tiny_run / "results/full/without-01-1min/sub-01/metrics.json")
    assert one.loc["without-1min", "cider"] == pytest.approx(
        metrics["systems"]["model"]["cider"], abs=0.005
    )
    for end in ("csv", "png"):  # else the page of other tests would ask for it with their settings
        (tiny_run / f"results/calibration.{end}").unlink()


@pytest.mark.long
def test_an_arm_without_the_surprise_trains_and_decodes(tiny_run, tiny_settings):
    target = "results/no-surprise/all/sub-01/metrics.json"
    done = snakemake(tiny_run, target, "--configfile", tiny_settings)
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_table(tiny_run / "models/no-surprise/all/align.csv")
    assert set(log["alpha"]) == {0}
    assert not (tiny_run / "models/no-surprise/all/pretrain.safetensors").exists()


def test_table_2_of_the_default_settings_has_every_arm_and_every_amount_of_data(tmp_path):
    planned = jobs(tmp_path, "results/table2.csv")
    settings = load(ROOT / "config.yaml")
    ablations, subjects = len(settings.arms) - 1, len(settings.subjects)
    ways = 5 * len(settings.table2.minutes)  # of which minutes of the target serve
    assert planned["calibrate"] == subjects * ways
    assert planned["decode"] == subjects * (ablations + 3 + ways)  # alone, all, nothing
    # with minutes of the target nothing but the readout is solved anew
    assert planned["tune"] == 1 + ablations + 2 * subjects
