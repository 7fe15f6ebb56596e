"""METEOR's paraphrases that can match the references, extracted once for all scoring jobs."""

from pathlib import Path

from llm4brain import steps
from llm4brain.evaluate.java import filter_paraphrases, tokenise
from llm4brain.io import read_table


def main(captions: Path, out: Path, code: str = "") -> None:
    filter_paraphrases(tokenise(read_table(captions, ("caption",))["caption"].tolist()), out)


if __name__ == "__main__":
    steps.run(main)
