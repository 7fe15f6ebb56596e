"""Decode one subject's test clips with the systems that see no trained encoder."""

from pathlib import Path

from llm4brain import steps
from llm4brain.evaluate.reference import reference_systems
from llm4brain.io import Arrays, read_table, write_arrays, write_table
from llm4brain.provenance import record
from llm4brain.sections import EvaluateSettings


def main(
    subject: str,
    features: Path,
    trials: Path,
    video: Path,
    clips: Path,
    captions: Path,
    generated: Path,
    out: Path,
    readings: Path,
    settings: str,
    seed: int,
    code: str,
) -> None:
    chosen = EvaluateSettings.given(settings)
    table = read_table(clips, ("clip_id", "split"))
    known = read_table(captions, ("clip_id", "caption"))
    tokens = Arrays(video)
    decoded = reference_systems(
        Arrays(features)["windows"],
        read_table(trials, ("clip_id", "split", "repeat", "valid")),
        tokens.meta["clip_id"],
        tokens["video_tokens"],
        known[known["clip_id"].isin(table.loc[table["split"] == "train", "clip_id"])],
        read_table(generated, ("clip_id", "caption")),
        chosen.repeats,
        (seed, *subject.encode()),
    )
    made_by = record(chosen.model_dump(mode="json"), code, seed)
    write_table(out, decoded.table)
    write_arrays(
        readings,
        decoded.readings,
        {"clip_id": decoded.clip_ids, "provenance": made_by, "ridge": decoded.ridge},
    )


if __name__ == "__main__":
    steps.run(main)
