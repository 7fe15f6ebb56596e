"""Derivatives of one subject of the pretraining cohort -> clean BOLD arrays."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from llm4brain import steps
from llm4brain.io import read_json, stream_arrays
from llm4brain.preprocess.resting import resting_bold
from llm4brain.provenance import record
from llm4brain.sections import BoldSettings


def main(
    derivatives: Path,
    subject: str,
    out: Path,
    settings: str,
    like: Path | None = None,
    task: list[str] | None = None,
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    chosen = BoldSettings.given(settings)
    made = resting_bold(
        derivatives, subject, chosen, task or [], read_json(like)["tr"] if like else None
    )
    meta = made.meta | {"provenance": record(chosen.model_dump(mode="json"), code, seed)}
    with threadpool_limits(threads):
        stream_arrays(out, made.shapes, made.arrays(), meta)


if __name__ == "__main__":
    steps.run(main)
