"""Tokens of each clip: those of the ViT, and the video tokens that the LLM reads."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.clips import CLIP_COLUMNS
from llm4brain.config import ClipSettings
from llm4brain.errors import one_line_errors
from llm4brain.io import read_table, write_arrays
from llm4brain.provenance import record
from llm4brain.training import machine
from llm4brain.video.captions import video_features
from llm4brain.video.videollm import VideoLLM, model_hash


def main(
    clips: Annotated[Path, typer.Option(help="clip table")],
    stimuli: Annotated[Path, typer.Option(help="folder of films")],
    model: Annotated[Path, typer.Option(help="folder of the video-LLM")],
    out: Annotated[Path, typer.Option(help="safetensors to write")],
    clip_settings: Annotated[str, typer.Option(help="JSON of clips")] = "{}",
    seed: int = 0,
    threads: int = 2,
    precision: str = "auto",
    code: str = "",
) -> None:
    with one_line_errors():
        chosen = ClipSettings.model_validate_json(clip_settings)
        table = read_table(clips, CLIP_COLUMNS)
        video = VideoLLM.on(machine(threads, precision), model)
        arrays = video_features(video, table, stimuli, chosen.frames)
        meta = {"clip_id": table["clip_id"].tolist(), "model": model_hash(model)}
        write_arrays(out, arrays, meta | record(chosen.model_dump(), code, seed))


if __name__ == "__main__":
    typer.run(main)
