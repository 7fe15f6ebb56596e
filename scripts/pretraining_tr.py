"""Clean BOLD of a subject -> the TR to which volumes of the pretraining cohort are averaged."""

from pathlib import Path

from llm4brain import steps
from llm4brain.io import write_json
from llm4brain.preprocess.resting import usual_tr


def main(bold: Path, out: Path, code: str = "") -> None:
    write_json(out, {"tr": usual_tr(bold)})


if __name__ == "__main__":
    steps.run(main)
