"""At an SNR of zero nothing is decoded: the whole chain, on one subject whose BOLD is noise alone.

A leak of test stimuli or captions into training would show here as a model above its floors. The
video-LLM is the one that `make run` left in models/, for a worse one could read nothing anyway.
"""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake

from llm4brain.evaluate.names import COMPARED
from llm4brain.io import read_json

VIDEO_LLM = ROOT / "models" / "video_llm"
FILMS = [f"film-{i:02d}.mp4" for i in range(1, 7)]

pytestmark = pytest.mark.skipif(
    not (VIDEO_LLM / "model.safetensors").exists(),
    reason="no models/video_llm here: call `make run` first",
)


def settings(snr: float) -> dict:
    return {
        "subjects": ["01"],
        "splits": {"train": FILMS[:4], "validation": FILMS[4:5], "test": FILMS[5:]},
        "phantom": {
            "films": 6, "test_films": 1, "clips_per_film": 40, "repeats": 1, "test_repeats": 2,
            "snr": snr,
        },
        "video_llm": {"source": f"path:{VIDEO_LLM}"},
        "encoder": {"fit": {"epochs": 2, "batch_size": 32, "lr": 2e-3}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tables of metrics at SNR 0 and, in the same place, at one where there is much to read."""
    folder, tables = tmp_path_factory.mktemp("null"), {}
    for snr in (0.0, 2.0):
        (folder / "snr.yaml").write_text(yaml.safe_dump(settings(snr)))
        done = snakemake(folder, "results/table1.csv", "--configfile", folder / "snr.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        own = read_json(folder / "results/full/all/sub-01/metrics.json")["systems"]
        other = read_json(folder / "results/reference/sub-01/sub-01/metrics.json")["systems"]
        tables[snr] = pd.DataFrame(own | other).T
    return tables


@pytest.mark.parametrize("metric", COMPARED)
def test_at_snr_zero_the_model_lies_within_the_floors_interval(run, metric):
    table = run[0.0]
    floors = table[table["kind"] == "floor"]
    value = float(table.loc["model", metric])
    assert float(floors[f"{metric}_low"].min()) <= value <= float(floors[f"{metric}_high"].max())


@pytest.mark.parametrize("metric", COMPARED)
def test_the_same_small_run_decodes_where_there_is_signal(run, metric):
    table = run[2.0]
    floors = table[table["kind"] == "floor"]
    assert float(table.loc["model", f"{metric}_low"]) > float(np.max(floors[f"{metric}_high"]))
