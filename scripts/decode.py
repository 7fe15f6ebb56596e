"""Decode the test clips of one subject, from its BOLD and from null inputs. Reads no captions."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llm4brain import steps
from llm4brain.align.reader import BrainReader
from llm4brain.brain import cohort
from llm4brain.checkpoint import Progress, remove_checkpoint, stamp
from llm4brain.io import Arrays, read_table, write_arrays, write_table
from llm4brain.provenance import record, sha256
from llm4brain.sections import ClipSettings, EvaluateSettings, VideoLLMSettings
from llm4brain.sources import checksums
from llm4brain.training import machine
from llm4brain.tune.broken import flat, noise_like, rolled, windows_of
from llm4brain.tune.decode import prompt_alone, put_into_words, read, shuffled
from llm4brain.tune.lora import load_lora
from llm4brain.video.videollm import VideoLLM, model_hash


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
    test = cohort.load([subject], [features], [trials], ("test",), chosen.repeats)
    train = cohort.load([subject], [features], [trials], ("train",))
    reader = BrainReader.load(Arrays(adapted))
    names, table = list(test.column("clip_id")), read_table(clips)
    own_seed = (seed, *subject.encode())
    inputs = {
        ("model", "model"): test.windows,
        ("rolled", "floor"): rolled(
            Arrays(bold), table, window, chosen.shift_seconds, names, chosen.repeats
        ),
        # scaled to the test windows, which average more showings than the training windows
        ("noise", "floor"): noise_like(test.windows, len(names), own_seed),
        **{(name, "floor"): each for name, each in flat(train.windows, len(names)).items()},
    }

    if chosen.repeats == "average":
        single = cohort.load([subject], [features], [trials], ("test",), "single")
        inputs["model_single", "model"] = windows_of(single, names, train.windows)
    if other_features and other_trials:
        other = cohort.load([subject], [other_features], [other_trials], ("test",), chosen.repeats)
        inputs["other_subject", "control"] = windows_of(other, names, train.windows)
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    identity = [made_by, window.model_dump(mode="json"), how.model_dump()]
    identity += [accelerator.mixed_precision, model_hash(video_llm), checksums(video_llm)]
    identity += map(sha256, [tuned, tuned.with_name("adapter_config.json")])
    used = (features, trials, bold, clips, adapted, other_features, other_trials)
    folder = out.with_suffix(".checkpoint")
    progress = Progress(folder, [*identity, subject, *(stamp(path) for path in used if path)])

    def read_one(who: tuple[str, str]) -> dict[str, torch.Tensor]:
        return {"z_f": torch.from_numpy(read({who: inputs[who]}, subject, reader)[who])}

    z_f = {who: progress.tensors(who, partial(read_one, who))["z_f"].numpy() for who in inputs}
    llm = VideoLLM.on(accelerator, video_llm, how)
    load_lora(llm, tuned.parent)
    llm.progress = progress
    found = put_into_words(z_f, llm, tokens)
    found += shuffled(found[0], names, (*own_seed, 1))
    said = [
        pd.DataFrame({"clip_id": names, "system": d.system, "kind": d.kind, "text": d.texts})
        for d in found
    ]
    alone = {"text": prompt_alone(llm, len(names), tokens), "clip_id": names}
    said.append(pd.DataFrame({"system": "prompt", "kind": "floor"} | alone))
    write_table(out, pd.concat(said))
    truth_rows = cohort.rows_of(Arrays(video).meta["clip_id"], names)
    truth = Arrays(video)["video_tokens"][truth_rows].reshape(len(names), -1)
    arrays = {d.system: d.reading for d in found}
    arrays |= {"truth": truth, "centre": np.asarray(reader.basis.mean, dtype=np.float32)}
    write_arrays(
        readings,
        arrays,
        {"clip_id": names, "provenance": made_by},
    )
    remove_checkpoint(folder)


if __name__ == "__main__":
    steps.run(main)
