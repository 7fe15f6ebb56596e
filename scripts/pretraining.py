"""Masked pretraining of SC-MBM on the pretraining cohort, before that on the decoded cohort."""

from pathlib import Path

from llm4brain import steps
from llm4brain.brain.pretrain import pretrain, save_encoder
from llm4brain.brain.resting import resting_windows
from llm4brain.brain.weights import Published
from llm4brain.checkpoint import remove_checkpoint, stamp
from llm4brain.io import Arrays
from llm4brain.provenance import record
from llm4brain.sections import EncoderSettings
from llm4brain.training import make_accelerator, save_log


def main(
    bold: Path,
    subject: list[str],
    example: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen = EncoderSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    files = [bold / f"sub-{name}.safetensors" for name in subject]
    # as in the windows of the decoder
    volumes = Arrays(example).shape("windows")[1] if chosen.temporal else 1
    train, validation = resting_windows(files, volumes)
    about = [[Arrays(file).meta, stamp(file)] for file in files]
    identity = [made_by, accelerator.mixed_precision, volumes, about]
    folder = out.with_suffix(".checkpoint")
    weights = Published.read(chosen.weights) if chosen.weights else None
    meta = {"provenance": made_by, "subjects": subject}
    if weights:
        identity.append(weights.about["sha256"])
        meta["weights"] = weights.about
    model, table = pretrain(train, validation, chosen, seed, folder, accelerator, identity, weights)
    if accelerator.is_main_process:
        save_encoder(out, model, train, meta)
        save_log(table, log, plot, f"Masked pretraining on {len(subject)} further subjects")
        remove_checkpoint(folder)
    accelerator.end_training()


if __name__ == "__main__":
    steps.run(main)
