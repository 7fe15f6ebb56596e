"""At an SNR of zero nothing is decoded: the whole chain, on one subject whose BOLD is noise alone.

A leak of test stimuli or captions into training would show here as a model above its floors. The
same small chain, fed BOLD with signal, is the control: there it reads more than from nothing. The
video-LLM is the one that `make run` left in models/, for a worse one could read nothing anyway.
"""

import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake

from llm4brain.evaluate.bootstrap import beats
from llm4brain.evaluate.names import COMPARED
from llm4brain.io import read_json, read_table

VIDEO_LLM = ROOT / "models" / "video_llm"
FILMS = [f"film-{i:02d}.mp4" for i in range(1, 6)]
OWN = "results/full/all/sub-01"

pytestmark = pytest.mark.skipif(
    not (VIDEO_LLM / "model.safetensors").exists(),
    reason="no models/video_llm here: call `make run` first",
)


def settings(snr: float) -> dict:
    return {
        "subjects": ["01"],
        "splits": {"train": FILMS[:3], "validation": FILMS[3:4], "test": FILMS[4:]},
        "phantom": {
            "films": 5, "test_films": 1, "clips_per_film": 40, "repeats": 1, "test_repeats": 2,
            "snr": snr,
        },
        "video_llm": {"source": f"path:{VIDEO_LLM}"},
        "evaluate": {"meteor": False},
        "encoder": {"fit": {"epochs": 1, "batch_size": 32, "lr": 2e-3}},
        "tune": {"fit": {"epochs": 1, "batch_size": 8, "lr": 5e-4}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Make a target at an SNR, in one place: what does not depend on the scans is made once."""
    folder = tmp_path_factory.mktemp("null")

    def run(snr: float, target: str) -> None:
        (folder / "snr.yaml").write_text(yaml.safe_dump(settings(snr)))
        done = snakemake(folder, target, "--configfile", folder / "snr.yaml")
        assert done.returncode == 0, done.stdout + done.stderr

    return folder, run


def test_at_snr_zero_the_model_lies_within_the_floors_interval(run):
    folder, make = run
    make(0.0, "results/table1.csv")
    systems = read_json(folder / f"{OWN}/metrics.json")["systems"]
    systems |= read_json(folder / "results/reference/sub-01/sub-01/metrics.json")["systems"]
    table = pd.DataFrame(systems).T
    floors = table[table["kind"] == "floor"]
    assert len(floors) == 9
    for metric in COMPARED:
        value = float(table.loc["model", metric])
        low, high = floors[f"{metric}_low"].min(), floors[f"{metric}_high"].max()
        assert low <= value <= high, metric
        for system in ("model", "model_single", "ridge", "ridge_single"):
            assert table.loc[system, f"{metric}_p"] > 0.005, (system, metric)


def test_the_same_small_run_decodes_where_there_is_signal(run):
    folder, make = run
    make(2.0, f"{OWN}/metrics.json")
    model, rolled, noise = (
        read_table(folder / f"{OWN}/predictions/{s}.tsv").set_index("clip_id")
        for s in ("model", "rolled", "noise")
    )
    for metric in COMPARED:
        for floor in (rolled, noise):
            got, least = model[metric].to_numpy(float), floor[metric].to_numpy(float)
            assert beats(got, least, list(model.index)), metric
