"""Decode one subject's test clips with the systems that see no trained encoder."""

from pathlib import Path

import torch

from llm4brain import steps
from llm4brain.config import EvaluateSettings, VideoLLMSettings
from llm4brain.evaluate.reference import reference_systems
from llm4brain.io import Arrays, read_table, write_arrays, write_table
from llm4brain.provenance import record
from llm4brain.training import machine
from llm4brain.video.videollm import VideoLLM


def main(
    subject: str,
    features: Path,
    trials: Path,
    video: Path,
    video_llm: Path,
    clips: Path,
    captions: Path,
    out: Path,
    readings: Path,
    settings: str,
    video_settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen = EvaluateSettings.model_validate_json(settings)
    longest = VideoLLMSettings.model_validate_json(video_settings).max_new_tokens
    accelerator = machine(threads, precision)
    bf16 = accelerator.mixed_precision == "bf16"
    llm = VideoLLM.load(video_llm, torch.bfloat16 if bf16 else torch.float32, accelerator.device)
    table = read_table(clips, ("clip_id", "split"))
    known = read_table(captions, ("clip_id", "caption"))
    tokens = Arrays(video)
    decoded = reference_systems(
        Arrays(features)["windows"],
        read_table(trials, ("clip_id", "split", "repeat", "valid")),
        tokens.meta["clip_id"],
        tokens["video_tokens"],
        known[known["clip_id"].isin(table.loc[table["split"] == "train", "clip_id"])],
        lambda prefix: llm.generate(torch.from_numpy(prefix), longest),
        chosen.repeats,
        (seed, *subject.encode()),
    )
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    write_table(out, decoded.table)
    write_arrays(
        readings,
        decoded.readings,
        {"clip_id": decoded.clip_ids, "provenance": made_by, "ridge": decoded.ridge},
    )


if __name__ == "__main__":
    steps.run(main)
