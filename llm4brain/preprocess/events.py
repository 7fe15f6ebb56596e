"""What was shown when: a run's events, checked against the run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from llm4brain.errors import UserError
from llm4brain.io import read_table


def read_events(path: Path, end: float) -> list[dict[str, float | str | None]]:
    """The rows of an events.tsv that name a stimulus.

    Takes one long row a run and one row a clip alike. Rows without a stimulus (fixation,
    oddballs: `n/a`) are skipped; a duration of n/a is kept as None and covers the stimulus whole.

    Args:
        end: s, when the run's last volume ends, on the clock of the events.

    Returns:
        dicts of onset (s), duration (s or None), stim_file, by onset; none if the table has no
        stim_file at all.

    Raises:
        UserError: no table, an onset that is no number, or one after the run's end.
    """
    table = read_table(path, ("onset", "duration"))
    if "stim_file" not in table:
        return []
    # pandas turns the n/a of BIDS into a missing value
    shown = table[table["stim_file"].notna() & (table["stim_file"] != "")]
    times = shown[["onset", "duration"]].apply(pd.to_numeric, errors="coerce")
    for row, onset in zip(shown.index, times["onset"], strict=True):
        if not onset < end:
            where = f"row {row + 2}"
            wrong = "has no onset" if pd.isna(onset) else f"starts at {onset:g} s"
            raise UserError(
                path,
                f"{where} {wrong}, but the run ends at {end:g} s",
                "correct the events, or check the run's TR and number of volumes",
            )
    return [
        {"onset": float(o), "duration": None if pd.isna(d) else float(d), "stim_file": str(s)}
        for o, d, s in sorted(
            zip(times["onset"], times["duration"], shown["stim_file"], strict=True),
            key=lambda row: row[0],
        )
    ]
