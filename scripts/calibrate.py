"""Adapt a trained decoder to a new subject with a few minutes of data."""

from dataclasses import asdict
from pathlib import Path
from typing import cast

from llm4brain import steps
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import written_size
from llm4brain.align.stage import Known, StageData
from llm4brain.align.stranger import Help
from llm4brain.checkpoint import Progress, remove_checkpoint
from llm4brain.io import Arrays
from llm4brain.provenance import record, sha256
from llm4brain.sections import AdaptSettings
from llm4brain.training import make_accelerator


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    video: Path,
    adapted: Path,
    target: str,
    known: int,
    how: str,
    out: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    """`known`: number of the target's first train trials that are used; `how`: the method."""
    chosen = AdaptSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    before = Arrays(adapted)
    data = StageData.load(subject, features, trials, video, {target: known})
    reader = BrainReader.load(before)
    identity = [made_by, accelerator.mixed_precision, subject, target, known, how]
    identity += map(sha256, [*features, *trials, video, adapted])
    folder = out.with_suffix(".checkpoint")
    size = written_size(before["train.out_of_fold"], reader.basis)
    samples, data = data.samples(reader), data.without_windows()
    others = Known(
        data,
        reader,
        *samples,
        size,
        before.meta["penalty"],
        before.meta["smooth_mm"],
        before.meta["options"],
        Progress(folder, identity),
    )
    choice = others.give(target, known, cast(Help, how), chosen.n_components)
    extra = {name: before[name] for name in ("train.out_of_fold", "validation.read")}
    meta = {"provenance": made_by, "new": asdict(choice)}
    reader.save(out, before, extra, before.meta | meta)
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
