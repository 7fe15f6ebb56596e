"""Train the small video-LLM on films and their captions."""

import shutil
from pathlib import Path

from llm4brain import steps
from llm4brain.provenance import record, sha256
from llm4brain.sections import ClipSettings, VideoLLMSettings
from llm4brain.sources import whole_folder
from llm4brain.training import make_accelerator, save_log
from llm4brain.video.learn import learn, read_films, save
from llm4brain.video.small import build


def main(
    llm: Path,
    films: Path,
    out: Path,
    log: Path,
    plot: Path,
    settings: str,
    clip_settings: str,
    seed: int = 0,
    threads: int = 2,
    precision: str = "auto",
    code: str = "",
) -> None:
    chosen = VideoLLMSettings.given(settings)
    frames = ClipSettings.given(clip_settings).frames
    accelerator = make_accelerator(threads, precision)
    video = build(llm, chosen, seed)
    seen = read_films(films, frames, video.pixels)
    hashes = {p.name: sha256(p) for p in sorted([*films.iterdir(), *llm.glob("*.safetensors")])}
    work = out.with_name(f".{out.name}-training")
    identity = [code, accelerator.mixed_precision, frames, hashes, chosen.model_dump()]
    table = learn(video, seen, chosen, seed, work, accelerator, identity)
    made = record(chosen.model_dump() | {"frames": frames}, code, seed) | {"inputs": hashes}
    with whole_folder(out) as folder:
        save(video, folder, made)
    save_log(table, log, plot, "video-LLM")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    steps.run(main)
