"""Masked pretraining of SC-MBM on the unlabelled train BOLD of a cohort."""

from pathlib import Path

from llm4brain import steps
from llm4brain.brain import cohort
from llm4brain.brain.pretrain import Trained, pretrain, save_encoder
from llm4brain.brain.weights import Published
from llm4brain.checkpoint import remove_checkpoint
from llm4brain.io import Arrays
from llm4brain.provenance import record, sha256
from llm4brain.sections import EncoderSettings
from llm4brain.training import make_accelerator, save_log


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
    start: Path | None = None,
) -> None:
    chosen = EncoderSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    apart = not chosen.temporal  # single volumes, unless the encoder attends between volumes
    train = cohort.stored(subject, features, trials, ("train",), apart)
    validation = cohort.stored(subject, features, trials, ("validation",), apart)
    identity = [made_by, accelerator.mixed_precision, *map(sha256, [*features, *trials])]
    weights = Published.read(chosen.weights) if chosen.weights and not start else None
    meta = {"provenance": made_by, "subjects": subject}
    if weights:
        identity.append(weights.about["sha256"])
        meta["weights"] = weights.about
    if start:
        further = Arrays(start)
        weights = Trained(further)
        identity.append(sha256(start))
        kept = {key: further.meta[key] for key in ("subjects", "weights") if key in further.meta}
        meta["pretraining"] = {"sha256": identity[-1]} | kept
    folder = out.with_suffix(".checkpoint")
    model, table = pretrain(train, validation, chosen, seed, folder, accelerator, identity, weights)
    if accelerator.is_main_process:
        save_encoder(out, model, train, meta)
        save_log(table, log, plot, f"Masked pretraining on {', '.join(subject)}")
        remove_checkpoint(folder)
    accelerator.end_training()


if __name__ == "__main__":
    steps.run(main)
