"""Fetch the model of a source string into a standard Hugging Face folder."""

from pathlib import Path

from llm4brain import steps
from llm4brain.sources import resolve


def main(source: str, out: Path, prompt: str = "") -> None:
    resolve(source, out, prompt)


if __name__ == "__main__":
    steps.run(main)
