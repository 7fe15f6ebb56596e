"""The SNR curve, from the tables of all SNR levels."""

from pathlib import Path

import pandas as pd

from llm4brain import steps
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.snr import COLUMNS, draw_snr
from llm4brain.io import read_table, write_table


def main(points: list[Path], out: Path, plot: Path) -> None:
    table = pd.concat([read_table(path, COLUMNS) for path in points], ignore_index=True)
    write_table(out, table)
    save(draw_snr(table), plot)


if __name__ == "__main__":
    steps.run(main)
