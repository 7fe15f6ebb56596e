"""Alignment: predict components of the video tokens from BOLD."""

from pathlib import Path

from llm4brain import steps
from llm4brain.align.aligner import ALPHAS, TEMPERING, Aligner, train_stage
from llm4brain.align.stage import StageData, new_reader, save
from llm4brain.checkpoint import remove_checkpoint
from llm4brain.provenance import record, sha256
from llm4brain.sections import AlignSettings
from llm4brain.training import make_accelerator, save_log, seed_everything


def main(
    subject: list[str],
    features: list[Path],
    trials: list[Path],
    video: Path,
    pretrained: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen = AlignSettings.given(settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    seed_everything(seed, "align")  # random initialisation of the adaptor's nonlinear part
    data = StageData.load(subject, features, trials, video)
    reader = new_reader(data, pretrained, chosen.adaptor_width, chosen.n_components)
    reader.to(accelerator.device)
    options = {
        "alphas": ALPHAS if chosen.alpha is None else (chosen.alpha,),
        "tempering": TEMPERING if chosen.weigh_components else (0.0,),
    }
    samples, data = data.samples(reader), data.without_windows()
    aligner = Aligner(reader, *samples, chosen.folds, **options)
    identity = [made_by, accelerator.mixed_precision]
    identity += map(sha256, [*features, *trials, video, pretrained])
    folder = out.with_suffix(".checkpoint")
    stage = train_stage(aligner, chosen.fit, 0.0, seed, "align", folder, accelerator, identity)
    meta = {"provenance": made_by, "folds": chosen.folds, "options": options}
    save(out, aligner, stage, pretrained, data, meta)
    save_log(stage.log, log, plot, f"Alignment on {', '.join(subject)}")
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
