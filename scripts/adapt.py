"""Domain adaptation across subjects, further training of the adaptor, and new subjects."""

import sys
from dataclasses import asdict
from pathlib import Path

from llm4brain import steps
from llm4brain.align.aligner import POWERS, Aligner, train_stage
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import written_size
from llm4brain.align.stage import Known, StageData, learn_gate, save
from llm4brain.checkpoint import remove_checkpoint
from llm4brain.io import Arrays
from llm4brain.provenance import record, sha256
from llm4brain.sections import AdaptSettings
from llm4brain.training import make_accelerator, save_log, seed_everything


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    video: Path,
    aligned: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen = AdaptSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    seed_everything(seed, "adapt")  # so does the critic of `adversarial`
    data = StageData.load(subject, features, trials, video)
    before = Arrays(aligned)
    reader, options = BrainReader.load(before), before.meta["options"]
    reader.to(accelerator.device)
    if "gate" in chosen.methods:
        print(learn_gate(data, reader, chosen.smooth_mm), file=sys.stderr)
    powers = POWERS if chosen.power is None else (chosen.power,)
    folds = before.meta["folds"]
    samples, data = data.samples(reader), data.without_windows()
    aligner = Aligner(reader, *samples, folds, chosen.methods, powers=powers, **options)
    options["powers"] = aligner.powers  # without a gate only power 0, also for new subjects
    identity = [made_by, accelerator.mixed_precision]
    identity += map(sha256, [*features, *trials, video, aligned])
    folder = out.with_suffix(".checkpoint")
    stage = train_stage(
        aligner, chosen.fit, chosen.weight, seed, "adapt", folder, accelerator, identity
    )
    solved = stage.readout
    size = written_size(solved.out_of_fold, reader.basis)
    given = (size, solved.penalty, chosen.smooth_mm, options, aligner.progress)
    known = Known(data, reader, *samples, *given)
    choice = known.give("shared", 0, "coupled", 0)
    meta = {"provenance": made_by, "folds": folds, "options": options, "new": asdict(choice)}
    save(out, aligner, stage, aligned, data, meta | {"smooth_mm": chosen.smooth_mm})
    save_log(stage.log, log, plot, f"Domain adaptation ({', '.join(chosen.methods) or 'none'})")
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
