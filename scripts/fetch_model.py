"""Fetch a model from its source string into an ordinary Hugging Face folder."""

from pathlib import Path

from llm4brain import steps
from llm4brain.io import write_json
from llm4brain.sources import SIDECAR, resolve


def main(
    source: str,
    out: Path,
    prompt: str = "",
) -> None:
    resolve(source, out)
    # A model that was trained here brings its own.
    if prompt and not (out / SIDECAR).exists():
        write_json(out / SIDECAR, {"prompt": prompt})


if __name__ == "__main__":
    steps.run(main)
