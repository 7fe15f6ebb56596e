"""Draw table 1."""

from pathlib import Path

from llm4brain import steps
from llm4brain.evaluate.figure import draw, save
from llm4brain.evaluate.table import COLUMNS
from llm4brain.io import read_table


def main(table: Path, out: Path) -> None:
    figure = draw(read_table(table, COLUMNS))
    save(figure, out)


if __name__ == "__main__":
    steps.run(main)
