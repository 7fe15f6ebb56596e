"""Simulate one subject of the phantom cohort watching the films in stimuli/ of --out-dir."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.scans import write_subject
from llm4brain.provenance import record
from llm4brain.sections import PhantomSettings


def main(
    subject: str,
    out_dir: Path,
    truth: Path,
    settings: str,
    seed: int = 0,
    code: str = "",
) -> None:
    phantom = PhantomSettings.given(settings)
    made = record(phantom.model_dump(), code, seed)
    write_subject(out_dir, truth, phantom, subject, seed, made)


if __name__ == "__main__":
    steps.run(main)
