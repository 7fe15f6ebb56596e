"""Captions that the video-LLM writes of each clip."""

from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.io import read_table, write_table
from llm4brain.sections import CaptionSettings, ClipSettings, VideoLLMSettings
from llm4brain.training import machine
from llm4brain.video.captions import generated_captions
from llm4brain.video.videollm import VideoLLM, model_hash


def main(
    clips: Path,
    stimuli: Path,
    model: Path,
    out: Path,
    settings: str,
    clip_settings: str,
    caption_settings: str,
    seed: int,
    threads: int = 2,
    precision: str = "auto",
) -> None:
    how = VideoLLMSettings.given(settings)
    drawn = CaptionSettings.given(caption_settings)
    frames = ClipSettings.given(clip_settings).frames
    table = read_table(clips, CLIP_COLUMNS)
    video = VideoLLM.on(machine(threads, precision), model, how)
    captions = generated_captions(
        video, table, stimuli, frames, how.max_new_tokens, model_hash(model), drawn, seed
    )
    write_table(out, captions)


if __name__ == "__main__":
    steps.run(main)
