"""Ridge's own reading, put into words by the LLM that nobody tuned."""

import torch
from leak_data import D, K, run, write_models, write_study

from llm4brain.io import Arrays, read_table
from llm4brain.video.videollm import VideoLLM


def test_ridge_llm_says_what_the_untuned_llm_says_of_ridges_reading(tmp_path):
    study = write_study(tmp_path / "study", poisoned=False)
    models = write_models(study, tmp_path / "models")
    run("reference", study, models, tmp_path / "out")
    arrays, said = (
        Arrays(tmp_path / "out" / "readings.safetensors"),
        read_table(tmp_path / "out" / "decoded.tsv"),
    )
    reading = torch.from_numpy(arrays["ridge"]).view(-1, K, D)
    llm = VideoLLM.load(models / "video_llm")
    own = said[said["system"] == "ridge_llm"].set_index("clip_id")["text"].fillna("")
    assert own[arrays.meta["clip_id"]].tolist() == llm.generate(reading, 8)
    assert own.nunique() > 1
