"""Cross-modal alignment: adaptors in SC-MBM and Q-Former, readout from the ridge solution."""

from pathlib import Path

import torch

from llm4brain import steps
from llm4brain.align.aligner import train_stage
from llm4brain.align.stage import StageData, build, new_reader, save
from llm4brain.brain.cohort import known_trials
from llm4brain.provenance import record, sha256
from llm4brain.sections import AlignSettings
from llm4brain.training import machine, save_log, seed_everything
from llm4brain.video.videollm import VideoLLM


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    video: Path,
    pretrained: Path,
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
    chosen = AlignSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = machine(threads, precision)
    seed_everything(seed, "align")  # adaptors begin at random
    data = StageData.load(subject, features, trials, video, known_trials(labelled or []))
    reader = new_reader(data, pretrained, chosen.adaptor_width, chosen.rank)
    # Only its Q-Former is read, which is in full; the rest may take half the memory.
    llm = VideoLLM.load(video_llm, torch.bfloat16, accelerator.device)
    aligner = build(data, reader, llm, chosen.folds, "none")
    if chosen.gain is None:
        aligner.choose_gain()
    else:
        reader.gain = chosen.gain
    identity = [made_by, accelerator.mixed_precision, labelled]
    identity += map(sha256, [*features, video, pretrained])
    folder = out.with_suffix(".checkpoint")
    stage = train_stage(aligner, chosen.fit, 0.0, seed, "align", folder, accelerator, identity)
    save(out, aligner, stage, pretrained, data, {"provenance": made_by, "folds": chosen.folds})
    save_log(stage.log.assign(gain=reader.gain), log, plot, f"Alignment on {', '.join(subject)}")


if __name__ == "__main__":
    steps.run(main)
