"""Captions that the video-LLM writes of each clip."""

from pathlib import Path
from typing import Annotated

import typer

from llm4brain.clips import CLIP_COLUMNS
from llm4brain.config import ClipSettings, VideoLLMSettings
from llm4brain.errors import one_line_errors
from llm4brain.io import read_table, write_table
from llm4brain.training import machine
from llm4brain.video.captions import generated_captions
from llm4brain.video.videollm import VideoLLM, model_hash


def main(
    clips: Annotated[Path, typer.Option(help="clip table")],
    stimuli: Annotated[Path, typer.Option(help="folder of films")],
    model: Annotated[Path, typer.Option(help="folder of the video-LLM")],
    out: Annotated[Path, typer.Option(help="table to write")],
    settings: Annotated[str, typer.Option(help="JSON of video_llm")] = "{}",
    clip_settings: Annotated[str, typer.Option(help="JSON of clips")] = "{}",
    threads: int = 2,
    precision: str = "auto",
) -> None:
    with one_line_errors():
        longest = VideoLLMSettings.model_validate_json(settings).max_new_tokens
        frames = ClipSettings.model_validate_json(clip_settings).frames
        table = read_table(clips, CLIP_COLUMNS)
        video = VideoLLM.on(machine(threads, precision), model)
        source = model_hash(model)
        write_table(out, generated_captions(video, table, stimuli, frames, longest, source))


if __name__ == "__main__":
    typer.run(main)
