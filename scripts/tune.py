"""LLM tuning: LoRA on prompt and fMRI tokens, with caption loss and understanding gap."""

from pathlib import Path

from llm4brain import steps
from llm4brain.align.reader import BrainReader
from llm4brain.checkpoint import remove_checkpoint
from llm4brain.io import Arrays, read_table, write_json
from llm4brain.provenance import record, sha256
from llm4brain.sections import TuneSettings, VideoLLMSettings
from llm4brain.training import make_accelerator, save_log
from llm4brain.tune.lora import save_lora, tune
from llm4brain.tune.samples import tuning_samples
from llm4brain.video.videollm import VideoLLM, loaded_as, model_hash


def main(
    adapted: Path,
    video: Path,
    captions: Path,
    video_llm: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    video_settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen, loaded = TuneSettings.given(settings), VideoLLMSettings.given(video_settings)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    accelerator = make_accelerator(threads, precision)
    arrays = Arrays(adapted)
    reader, table = BrainReader.load(arrays), read_table(captions, ("clip_id", "caption", "source"))
    whose = sorted(set(table["source"]))  # human, model or file; the latter two with hash
    train = tuning_samples(arrays, reader, Arrays(video), table, "train", "out_of_fold")
    validation = tuning_samples(arrays, reader, Arrays(video), table, "validation", "read")
    llm = VideoLLM.on(accelerator, video_llm, loaded)
    reads = {"video_llm": model_hash(video_llm)} | loaded.model_dump(
        include={"quantize", "device_map"}
    )
    identity = [made_by, *loaded_as(video_llm, loaded, accelerator)]
    identity += map(sha256, [adapted, video, captions])
    folder = out.parent.with_suffix(".checkpoint")
    table = tune(llm, train, validation, chosen, seed, folder, accelerator, identity)
    if accelerator.is_main_process:
        save_lora(llm.model.language_model, out.parent, "models/video_llm")
        write_json(out.with_name("provenance.json"), made_by | reads | {"captions": whose})
        save_log(table, log, plot, "LLM tuning")
        remove_checkpoint(folder)
    accelerator.end_training()


if __name__ == "__main__":
    steps.run(main)
