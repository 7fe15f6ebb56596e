"""Score the texts of all systems for one subject's test clips against references."""

from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from llm4brain import steps
from llm4brain.clips import CLIP_COLUMNS
from llm4brain.evaluate.decoded import read_readings
from llm4brain.evaluate.optional_metrics import measures, of_films
from llm4brain.evaluate.scoring import score
from llm4brain.evaluate.similarity import sentence_encoder
from llm4brain.io import read_table, write_json, write_table
from llm4brain.provenance import record, sha256
from llm4brain.sections import ClipSettings, EvaluateSettings


def main(
    decoded: list[Path],
    readings: list[Path],
    captions: Path,
    sentence_model: Path,
    subject: str,
    source: Literal["human", "generated", "file"],
    predictions: Path,
    out: Path,
    settings: str,
    seed: int,
    threads: int = 1,
    precision: str = "fp32",  # an option of every step; scores are always computed in fp32
    code: str = "",
    simulated: bool = False,
    agreement: bool = False,
    bertscore: Path | None = None,
    clip_model: Path | None = None,
    clips: Path | None = None,
    stimuli: Path | None = None,
    clip_settings: str = "{}",
    corenlp: Path | None = None,
    paraphrases: Path | None = None,
) -> None:
    chosen = EvaluateSettings.given(settings)
    frames_of = None
    if clip_model and clips and stimuli:
        frames = ClipSettings.given(clip_settings).frames
        frames_of = of_films(read_table(clips, CLIP_COLUMNS), stimuli, frames)
    torch.set_num_threads(threads)
    said = [read_table(path, ("clip_id", "system", "kind", "text")) for path in decoded]
    read = [read_readings(path) for path in readings]
    references = read_table(captions, ("clip_id", "caption"))
    whose = {}  # name and hash of the user's caption table
    if source == "file":
        whose = {"references_file": references["source"].iloc[0]}
    ridge = {  # choices of each ridge, without validation curves
        name: {k: v for k, v in took.items() if k != "validation"}
        for _, meta in read
        for name, took in meta.get("ridge", {}).items()
    }
    scores = score(
        pd.concat(said, ignore_index=True),
        [(arrays, meta["clip_id"]) for arrays, meta in read],
        references,
        subject,
        sentence_encoder(sentence_model),
        chosen,
        seed,
        author="video" if source == "generated" else None,
        agreement=agreement,
        further=measures(
            corenlp=corenlp,
            bertscore_model=bertscore,
            layer=chosen.bertscore_layer,
            clip_model=clip_model,
            frames_of=frames_of,
        ),
        paraphrases=paraphrases,
    )
    for system, table in scores.predictions.items():
        write_table(predictions / f"{system}.tsv", table)
    write_json(
        out,
        {
            "subject": subject,
            "data": "simulated" if simulated else "measured",
            "references": source,
            "references_sha256": sha256(captions),
            **whose,
            "systems": scores.systems,
            "differences": scores.differences,
            **({"ridge": ridge} if ridge else {}),
            "provenance": record(chosen.model_dump(mode="json"), code, seed),
        },
    )


if __name__ == "__main__":
    steps.run(main)
