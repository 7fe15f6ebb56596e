"""Table 1 from the metrics of every subject."""

from pathlib import Path

from llm4brain import steps
from llm4brain.evaluate.table import leading, summary, table1
from llm4brain.io import read_json, write_json, write_table


def main(metrics: list[Path], out: Path, leading_out: Path) -> None:
    table = table1({str(path): read_json(path) for path in metrics})
    write_table(out, table)
    write_json(leading_out, leading(table))
    print(summary(table))


if __name__ == "__main__":
    steps.run(main)
