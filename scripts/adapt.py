"""Domain adaptation across subjects, on from the alignment."""

from pathlib import Path

import torch

from llm4brain import steps
from llm4brain.align.aligner import train_stage
from llm4brain.align.reader import BrainReader
from llm4brain.align.stage import StageData, build, qformer_state, save
from llm4brain.brain.cohort import known_trials
from llm4brain.io import Arrays
from llm4brain.provenance import record, sha256
from llm4brain.sections import AdaptSettings
from llm4brain.training import machine, save_log, seed_everything
from llm4brain.video.videollm import VideoLLM


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    video: Path,
    aligned: Path,
    video_llm: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
    labelled: list[str] | None = None,
) -> None:
    chosen = AdaptSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = machine(threads, precision)
    seed_everything(seed, "adapt")  # so does a critic
    data = StageData.load(subject, features, trials, video, known_trials(labelled or []))
    before = Arrays(aligned)
    # Only its Q-Former is read, which is in full; the rest may take half the memory.
    llm = VideoLLM.load(video_llm, torch.bfloat16, accelerator.device)
    folds = before.meta["folds"]
    state = qformer_state(before)
    aligner = build(data, BrainReader.load(before), llm, folds, chosen.member, state)
    identity = [made_by, accelerator.mixed_precision, labelled]
    identity += map(sha256, [*features, video, aligned])
    folder = out.with_suffix(".checkpoint")
    stage = train_stage(
        aligner, chosen.fit, chosen.weight, seed, "adapt", folder, accelerator, identity
    )
    save(out, aligner, stage, aligned, data, {"provenance": made_by, "folds": folds})
    save_log(stage.log, log, plot, f"Domain adaptation ({chosen.member})")


if __name__ == "__main__":
    steps.run(main)
