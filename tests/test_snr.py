"""The SNR curve: the same workflow on phantoms of other SNRs."""

import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, jobs, snakemake

from llm4brain.config import load
from llm4brain.evaluate.names import COMPARED
from llm4brain.evaluate.snr import COLUMNS, FLOOR, draw_snr, snr_rows
from llm4brain.io import read_table


def system(kind, value, p=0.5):
    ends = {f"{m}{e}": value for m in COMPARED for e in ("", "_low", "_high")}
    return {"kind": kind, "n_clips": 8} | ends | {f"{m}_p": p for m in COMPARED}


def found(**systems):
    return {"systems": systems, "subject": "01", "references": "human", "data": "simulated"}


REFERENCE = found(
    constant=system("floor", 7), ridge=system("baseline", 9), video=system("ceiling", 90),
    agreement={"kind": "ceiling"},
)  # fmt: skip


def level(snr, value, p):
    model = found(model=system("model", value, p), noise=system("floor", 3))
    return snr_rows(snr, model, REFERENCE, {"alpha": 0.7, "power": 1.0, "coupling": 0.5})


def test_a_level_has_every_system_and_the_highest_floor():
    table = level(0.5, 40, 0.001)
    assert list(table.columns) == list(COLUMNS)
    assert set(table["system"]) == {"model", "noise", "constant", "ridge", "video", FLOOR}
    assert table.set_index("system").loc[FLOOR, "cider"] == 7
    assert (set(table["alpha"]), set(table["power"])) == ({0.7}, {1.0})


def test_the_figure_says_simulated_and_marks_what_is_not_significant():
    table = pd.concat([level(0, 6, 0.5), level(1, 40, 0.001)], ignore_index=True)
    figure = draw_snr(table)
    assert "simulated" in figure.get_suptitle()
    assert "open circles" in figure.get_supxlabel()
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    open_ones = [x for line in lines if line.get_mfc() == "white" for x in line.get_xdata()]
    assert open_ones.count(0) == 2  # the model and ridge, at an SNR of nothing
    plt.close(figure)


def test_no_level_depends_on_the_snr_of_the_settings_or_on_who_else_there_is(tmp_path):
    over = {"phantom": {"snr": 0.7}, "subjects": ["01"]}
    default, own = ROOT / "config.yaml", tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(over))
    assert load(default).of_one_arm() == load(default, own).of_one_arm()
    own.write_text(yaml.safe_dump({"clips": {"lag": 4}}))
    assert load(default).of_one_arm() != load(default, own).of_one_arm()


@pytest.fixture(scope="module")
def settings(tiny_run, tiny_settings):
    own = yaml.safe_load(tiny_settings.read_text()) | {"snr_curve": {"levels": [0, 3]}}
    (tiny_run / "snr.yaml").write_text(yaml.safe_dump(own))
    return tiny_run / "snr.yaml"


def test_the_curve_asks_for_its_levels_alone(tiny_run, settings):
    planned = jobs(tiny_run, "results/snr.png", "--configfile", settings)
    assert planned == {"at_snr": 2, "snr_curve": 1}


@pytest.mark.long
def test_a_level_is_the_whole_chain_in_a_folder_that_is_gone_afterwards(tiny_run, settings):
    done = snakemake(tiny_run, "results/snr/3.csv", "--configfile", settings)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_table(tiny_run / "results/snr/3.csv", COLUMNS).set_index("system")
    assert set(table["snr"]) == {3}
    assert {"model", "rolled", "ridge", "video", FLOOR} <= set(table.index)
    assert np.isfinite(table[list(COMPARED)].to_numpy(float)).all()
    assert not (tiny_run / "snr/3").exists()
    assert not jobs(tiny_run, "results/snr/3.csv", "--configfile", settings)
    # what films alone decide is taken as it stands
    log = (tiny_run / "logs/at_snr/3.log").read_text()
    made = {line.split()[1] for line in log.splitlines() if line.startswith("rule ")}
    made |= {line.split()[0] for line in log.splitlines() if re.match(r"[a-z_]+ +\d+$", line)}
    assert "tune" in made
    assert not made & {"phantom_films", "clips", "captions_generated", "video_features"}


def test_a_chain_that_fails_ends_in_a_line_that_says_where_to_look(tmp_path):
    (tmp_path / "Snakefile").write_text('rule all:\n    output: "results/x"\n    shell: "false"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data/clips.tsv").touch()
    options = {
        "snr": 0, "subject": "01", "snakefile": tmp_path / "Snakefile", "video-llm": tmp_path,
        "sentence-model": tmp_path, "work": tmp_path / "snr" / "0", "out": tmp_path / "0.csv",
        "settings": '{"phantom": {}, "video_llm": {}, "evaluate": {}, "captions": {"file": null}, '
        '"splits": {"table": null}}',
        "shared": "data/clips.tsv", "rules": "all",
        "threads": 1,
    }  # fmt: skip
    words = [str(w) for name, value in options.items() for w in (f"--{name}", value)]
    script = [sys.executable, str(ROOT / "scripts" / "at_snr.py")]
    done = subprocess.run([*script, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert f"{tmp_path}/snr/0: did not run to its end; see" in said
    assert not (tmp_path / "0.csv").exists()
