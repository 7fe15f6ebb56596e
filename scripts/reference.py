"""Floors, linear baselines and ceilings for the test clips of one subject."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from llm4brain import steps
from llm4brain.align.reader import BrainReader
from llm4brain.checkpoint import Progress, remove_checkpoint
from llm4brain.evaluate.decoded import write_readings
from llm4brain.evaluate.reference import reference_systems
from llm4brain.io import Arrays, read_table, write_table
from llm4brain.provenance import record
from llm4brain.sections import EvaluateSettings, VideoLLMSettings
from llm4brain.training import make_accelerator
from llm4brain.tune.decode import say
from llm4brain.video.videollm import VideoLLM, loaded_as


def main(
    subject: str,
    features: Path,
    trials: Path,
    video: Path,
    clips: Path,
    captions: Path,
    generated: Path,
    adapted: Path,
    video_llm: Path,
    out: Path,
    readings: Path,
    settings: str,
    video_settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
) -> None:
    chosen = EvaluateSettings.given(settings)
    how = VideoLLMSettings.given(video_settings)
    accelerator = make_accelerator(threads, precision)
    # Ridge uses SC-MBM and the gate of the model of all subjects. Both were learned from train BOLD
    # without captions or video tokens. The adaptor, which was not, is not used.
    reader = BrainReader.load(Arrays(adapted))

    folder = out.with_suffix(".checkpoint")

    def words(components: np.ndarray, write: Callable[[np.ndarray], np.ndarray]) -> list[str]:
        """Generate text as `decode` does, but with the untuned LLM."""
        llm = VideoLLM.on(accelerator, video_llm, how)
        # texts are kept under the tokens' hash
        llm.progress = Progress(folder, [code, *loaded_as(video_llm, how, accelerator)])
        return say(components, write, llm, how.max_new_tokens)

    table = read_table(clips, ("clip_id", "split"))
    known = read_table(captions, ("clip_id", "caption"))
    tokens = Arrays(video)
    decoded = reference_systems(
        Arrays(features).mapped("windows"),
        read_table(trials, ("clip_id", "split", "repeat", "valid")),
        tokens.meta["clip_id"],
        tokens.mapped("video_tokens"),
        known[known["clip_id"].isin(table.loc[table["split"] == "train", "clip_id"])],
        read_table(generated, ("clip_id", "caption")),
        reader,
        words,
        chosen.repeats,
        (seed, *subject.encode()),
    )
    for name, took in decoded.ridge.items():
        print(f"{name} took {took['said']}, penalty {took['penalty']:g}")
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    write_table(out, decoded.table)
    write_readings(
        readings,
        decoded.readings,
        {"clip_id": decoded.clip_ids, "provenance": made_by, "ridge": decoded.ridge}
        | {"explained": decoded.explained},
    )
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
