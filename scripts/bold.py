"""Derivatives and events of one subject -> clean BOLD arrays."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from llm4brain import steps
from llm4brain.io import stream_arrays
from llm4brain.preprocess.bold import subject_bold
from llm4brain.provenance import record
from llm4brain.sections import BoldSettings


def main(
    bids: Path,
    derivatives: Path,
    subject: str,
    out: Path,
    settings: str,
    task: list[str] = (),
    seed: int = 0,
    threads: int = 1,
    precision: str = "auto",
    code: str = "",
) -> None:
    chosen = BoldSettings.given(settings)
    made = subject_bold(bids, derivatives, subject, chosen, task)
    meta = made.meta | {"provenance": record(chosen.model_dump(mode="json"), code, seed)}
    with threadpool_limits(threads):
        stream_arrays(out, made.shapes, made.arrays(), meta)


if __name__ == "__main__":
    steps.run(main)
