"""ViT tokens of each clip, and the video tokens that the LLM reads."""

from itertools import chain
from pathlib import Path

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.io import read_table, stream_arrays
from llm4brain.provenance import record
from llm4brain.sections import ClipSettings, VideoLLMSettings
from llm4brain.training import machine
from llm4brain.video.captions import video_features
from llm4brain.video.videollm import VideoLLM, model_hash


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
    video = VideoLLM.on(machine(threads, precision), model, how)
    films = video_features(video, table, stimuli, chosen.frames)
    first = next(films)
    shapes = {
        name: (each.dtype.name, (len(table), *each.shape[1:])) for name, each in first[1].items()
    }
    parts = (part for _, arrays in chain([first], films) for part in arrays.items())
    # film by film, as they are read: the order of the table, if a film's clips are together there
    names = [clip for _, film in table.groupby("stim_file", sort=False) for clip in film["clip_id"]]
    meta = {"clip_id": names, "model": model_hash(model)}
    stream_arrays(out, shapes, parts, meta | record(chosen.model_dump(), code, seed))


if __name__ == "__main__":
    steps.run(main)
