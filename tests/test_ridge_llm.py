"""Ridge's own reading, put into words by the LLM that nobody tuned."""

import numpy as np
import torch
from leak_data import D, K, run, write_models, write_study

from llm4brain.align.basis import Basis, Space
from llm4brain.evaluate.decoded import read_readings
from llm4brain.evaluate.reference import N_COMPONENTS
from llm4brain.io import Arrays, read_table
from llm4brain.video.videollm import VideoLLM


def test_ridge_llm_says_what_the_untuned_llm_says_of_ridges_reading(tmp_path):
    study = write_study(tmp_path / "study", poisoned=False)
    models = write_models(study, tmp_path / "models")
    run("reference", study, models, tmp_path / "out")
    arrays, meta = read_readings(tmp_path / "out" / "readings.safetensors")
    said = read_table(tmp_path / "out" / "decoded.tsv")
    np.testing.assert_array_equal(arrays["ridge_llm"], arrays["ridge"])
    tokens = Arrays(study / "data/features/video.safetensors")["video_tokens"]
    train = read_table(study / "data/clips.tsv")["split"] == "train"
    basis = Basis.fit(tokens, N_COMPONENTS, np.flatnonzero(train))
    components = arrays["ridge"] @ np.linalg.inv(Space.of(basis).turn)
    reading = torch.from_numpy(basis.write(components).astype(np.float32)).view(-1, K, D)
    llm = VideoLLM.load(models / "video_llm")
    own = said[said["system"] == "ridge_llm"].set_index("clip_id")["text"].fillna("")
    assert own[meta["clip_id"]].tolist() == llm.generate(reading, 8)
    assert own.nunique() > 1
