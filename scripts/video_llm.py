"""Train the small video-LLM on films and their captions."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from llm4brain.config import ClipSettings, VideoLLMSettings
from llm4brain.errors import one_line_errors
from llm4brain.provenance import record, sha256
from llm4brain.sources import whole_folder
from llm4brain.training import machine, save_log
from llm4brain.video.learn import learn, read_films, save
from llm4brain.video.small import build


def main(
    llm: Annotated[Path, typer.Option(help="folder of the LLM")],
    films: Annotated[Path, typer.Option(help="folder of films with captions")],
    out: Annotated[Path, typer.Option(help="folder of the model")],
    log: Annotated[Path, typer.Option(help="CSV")],
    plot: Annotated[Path, typer.Option(help="PNG")],
    settings: Annotated[str, typer.Option(help="JSON of video_llm")] = "{}",
    clip_settings: Annotated[str, typer.Option(help="JSON of clips")] = "{}",
    seed: int = 0,
    threads: int = 2,
    precision: str = "auto",
    code: str = "",
) -> None:
    with one_line_errors():
        chosen = VideoLLMSettings.model_validate_json(settings)
        frames = ClipSettings.model_validate_json(clip_settings).frames
        accelerator = machine(threads, precision)
        video = build(llm, chosen, seed)
        seen = read_films(films, frames, video.pixels)
        hashes = {p.name: sha256(p) for p in sorted([*films.iterdir(), *llm.glob("*.safetensors")])}
        work = out.with_name(f".{out.name}-training")
        identity = [code, frames, hashes, chosen.model_dump()]
        table = learn(video, seen, chosen, seed, work, accelerator, identity)
        made = record(chosen.model_dump() | {"frames": frames}, code, seed) | {"inputs": hashes}
        with whole_folder(out) as folder:
            save(video, folder, made)
        save_log(table, log, plot, "video-LLM")
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
