"""Decode the test clips of one subject, from its BOLD and from null inputs. Reads no captions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from llm4brain import steps
from llm4brain.align.basis import Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain import cohort
from llm4brain.evaluate.decoded import write_readings
from llm4brain.io import Arrays, read_table, write_table
from llm4brain.provenance import record
from llm4brain.sections import ClipSettings, EvaluateSettings, VideoLLMSettings
from llm4brain.training import machine
from llm4brain.tune.broken import noise_like, rolled, windows_of
from llm4brain.tune.decode import prompt_alone, put_into_words, read, shuffled
from llm4brain.tune.lora import load_lora
from llm4brain.video.videollm import VideoLLM


def main(
    subject: str,
    features: Path,
    trials: Path,
    bold: Path,
    clips: Path,
    video: Path,
    video_llm: Path,
    adapted: Path,
    tuned: Path,
    out: Path,
    readings: Path,
    settings: str,
    clip_settings: str,
    video_settings: str,
    seed: int,
    threads: int,
    precision: str,
    code: str,
    other_features: Path | None = None,
    other_trials: Path | None = None,
) -> None:
    chosen = EvaluateSettings.given(settings)
    window = ClipSettings.given(clip_settings)
    how = VideoLLMSettings.given(video_settings)
    tokens = how.max_new_tokens
    accelerator = machine(threads, precision)
    reader, table = BrainReader.load(Arrays(adapted)), read_table(clips)
    test = cohort.load([subject], [features], [trials], ("test",), chosen.repeats)
    nothing = cohort.load([subject], [features], [trials], ("train",)).windows.mean(0)
    names = list(test.column("clip_id"))
    own_seed = (seed, *subject.encode())

    def inputs() -> Iterator[tuple[tuple[str, str], np.ndarray]]:
        yield ("model", "model"), test.windows
        roll = (chosen.roll, names, chosen.repeats)
        yield ("rolled", "floor"), rolled(Arrays(bold), table, window, *roll)
        # scaled to the test windows, which average more showings than the training windows
        yield ("noise", "floor"), noise_like(test.windows, len(names), own_seed)
        yield ("zeros", "floor"), np.zeros_like(nothing[None])
        yield ("train_mean", "floor"), nothing[None]
        if chosen.repeats == "average":
            single = cohort.load([subject], [features], [trials], ("test",), "single")
            yield ("model_single", "model"), windows_of(single, names, nothing)
        if other_features and other_trials:
            given = ([other_features], [other_trials], ("test",), chosen.repeats)
            other = cohort.load([subject], *given)
            yield ("other_subject", "control"), windows_of(other, names, nothing)

    components = read(inputs(), len(names), subject, reader)
    llm = VideoLLM.on(accelerator, video_llm, how)
    load_lora(llm, tuned.parent)
    found = put_into_words(components, reader, llm, tokens)
    found += shuffled(found[0], names, (*own_seed, 1))
    said = [
        pd.DataFrame({"clip_id": names, "system": d.system, "kind": d.kind, "text": d.texts})
        for d in found
    ]
    alone = {"text": prompt_alone(llm, len(names), tokens), "clip_id": names}
    said.append(pd.DataFrame({"system": "prompt", "kind": "floor"} | alone))
    write_table(out, pd.concat(said))
    space, shown = Space.of(reader.basis), Arrays(video)
    rows = cohort.rows_of(shown.meta["clip_id"], names)
    truth, norms = space.truth(shown.mapped("video_tokens"), rows)
    arrays = {d.system: space.coordinates(d.reading * reader.basis.weights) for d in found}
    write_readings(
        readings,
        arrays | {"truth": truth, "norms": norms},
        {"clip_id": names, "provenance": record(chosen.model_dump(mode="json"), code, seed)},
    )


if __name__ == "__main__":
    steps.run(main)
