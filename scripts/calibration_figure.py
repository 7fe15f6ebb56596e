"""Draw the calibration curve."""

from pathlib import Path

from llm4brain import steps
from llm4brain.evaluate.calibration import draw_calibration
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.table2 import COLUMNS
from llm4brain.io import read_table


def main(table: Path, out: Path) -> None:
    figure = draw_calibration(read_table(table, COLUMNS))
    save(figure, out)


if __name__ == "__main__":
    steps.run(main)
