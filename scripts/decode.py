"""Decode the test clips of one subject, from its BOLD and from null inputs. Reads no captions."""

from pathlib import Path

import numpy as np
import pandas as pd

from llm4brain import steps
from llm4brain.align.basis import Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain import cohort
from llm4brain.checkpoint import Progress, remove_checkpoint, stamp
from llm4brain.evaluate.decoded import write_readings
from llm4brain.io import Arrays, read_table, write_table
from llm4brain.provenance import record, sha256
from llm4brain.sections import ClipSettings, EvaluateSettings, VideoLLMSettings
from llm4brain.training import make_accelerator
from llm4brain.tune.decode import prompt_alone, put_into_words, read, shuffled
from llm4brain.tune.lora import load_lora
from llm4brain.tune.null_inputs import noise_like, rolled, windows_of
from llm4brain.video.videollm import VideoLLM, loaded_as


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
    accelerator = make_accelerator(threads, precision)
    reader, table = BrainReader.load(Arrays(adapted)), read_table(clips)
    test = cohort.load([subject], [features], [trials], ("test",), chosen.repeats)
    nothing = cohort.load([subject], [features], [trials], ("train",)).windows.mean(0)
    names = list(test.column("clip_id"))
    own_seed = (seed, *subject.encode())

    roll = (chosen.shift_seconds, names, chosen.repeats)
    # functions, since a resumed run does not need the windows that were read before
    inputs = {
        ("model", "model"): lambda: test.windows,
        ("rolled", "floor"): lambda: rolled(Arrays(bold), table, window, *roll),
        # scaled to the test windows, which average more showings than the training windows
        ("noise", "floor"): lambda: noise_like(test.windows, len(names), own_seed),
        ("zeros", "floor"): lambda: np.zeros_like(nothing[None]),
        ("train_mean", "floor"): lambda: nothing[None],
    }

    def of(people: list[Path], tables: list[Path], repeats: str) -> np.ndarray:
        windows = cohort.load([subject], people, tables, ("test",), repeats)
        return windows_of(windows, names, nothing)

    if chosen.repeats == "average":
        inputs["model_single", "model"] = lambda: of([features], [trials], "single")
    if other_features and other_trials:
        inputs["other_subject", "control"] = lambda: of(
            [other_features], [other_trials], chosen.repeats
        )
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    identity = [made_by, window.model_dump(mode="json")]
    identity += loaded_as(video_llm, how, accelerator)
    identity += map(sha256, [tuned, tuned.with_name("adapter_config.json")])
    used = (features, trials, bold, clips, adapted, other_features, other_trials)
    folder = out.with_suffix(".checkpoint")
    progress = Progress(folder, [*identity, subject, *(stamp(path) for path in used if path)])
    components = read(inputs, len(names), subject, reader, progress)
    llm = VideoLLM.on(accelerator, video_llm, how)
    load_lora(llm, tuned.parent)
    llm.progress = progress
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
        {"clip_id": names, "provenance": made_by},
    )
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
