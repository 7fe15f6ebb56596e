"""ViT tokens of each clip, and the video tokens that the LLM reads."""

from pathlib import Path

from llm4brain import steps
from llm4brain.checkpoint import Progress, remove_checkpoint, stamp
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.io import read_table
from llm4brain.provenance import record, sha256
from llm4brain.sections import ClipSettings, VideoLLMSettings
from llm4brain.training import make_accelerator
from llm4brain.video.captions import feature_batches, feature_shapes
from llm4brain.video.videollm import VideoLLM, loaded_as, model_hash


def main(
    clips: Path,
    stimuli: Path,
    model: Path,
    out: Path,
    clip_settings: str,
    settings: str,
    seed: int = 0,
    threads: int = 2,
    precision: str = "auto",
    code: str = "",
) -> None:
    chosen = ClipSettings.given(clip_settings)
    table = read_table(clips, CLIP_COLUMNS)
    how = VideoLLMSettings.given(settings)
    accelerator = make_accelerator(threads, precision)
    video = VideoLLM.on(accelerator, model, how)
    meta = {"clip_id": table["clip_id"].tolist(), "model": model_hash(model)}
    meta |= record(chosen.model_dump(), code, seed)
    films = [stamp(stimuli / name) for name in table["stim_file"].unique()]
    identity = [meta, *loaded_as(model, how, accelerator), sha256(clips), films]
    folder = out.with_suffix(".checkpoint")
    progress = Progress(folder, identity)
    given = (video, len(table), chosen.frames)
    shapes = progress.value("shapes", lambda: feature_shapes(*given))
    batches = feature_batches(video, table, stimuli, chosen.frames)
    progress.stream(out, shapes, batches, meta)
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
