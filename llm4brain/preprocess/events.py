"""What was shown when: a run's events, checked against the run."""

from __future__ import annotations

import math
from pathlib import Path

from llm4brain.errors import UserError, warn
from llm4brain.io import read_table

NONE = ("", "n/a")  # what a cell without a value holds, in whatever case


def read_events(path: Path, end: float) -> list[dict[str, float | str | None]]:
    """The rows of an events.tsv that name a stimulus.

    Takes one long row a run and one row a clip alike. Rows without a stimulus (fixation,
    oddballs: `n/a`) are skipped; a duration of n/a is kept as None and covers the stimulus whole.
    Spaces around column names are dropped, and said; what a stimulus' name is taken for is
    decided where the clips are known (`llm4brain.clips.plan_windows`).

    Args:
        end: s, when the run's last volume ends, on the clock of the events.

    Returns:
        dicts of onset (s), duration (s or None), stim_file, by onset; none if the table has no
        stim_file at all.

    Raises:
        UserError: no table, two columns of one name, an onset or a duration that is not a number of
            seconds, or an onset after the run's end.
    """
    table = read_table(path, as_text=True).fillna("n/a")  # a row may be short
    names = [str(name).strip() for name in table.columns]
    if loose := [str(old) for old, name in zip(table.columns, names, strict=True) if old != name]:
        warn(f"{path}: column {loose[0]!r} is read without its spaces")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(path, f"has two columns {min(twice)}", "keep one of them")
    table.columns = names
    if missing := [name for name in ("onset", "duration") if name not in names]:
        raise UserError(path, f"has no column {', '.join(missing)}", "add it")
    if "stim_file" not in names:
        return []
    shown = []
    for row, (onset, duration, film) in enumerate(
        zip(table["onset"], table["duration"], table["stim_file"], strict=True), start=2
    ):
        if film.strip().lower() in NONE:
            continue
        starts, lasts = (
            _seconds(path, row, name, text)
            for name, text in (("onset", onset), ("duration", duration))
        )
        if starts is None or starts >= end:
            wrong = "has no onset" if starts is None else f"starts at {starts:g} s"
            raise UserError(
                path,
                f"row {row} {wrong}, but the run ends at {end:g} s",
                "correct the events, or check the run's TR and number of volumes",
            )
        if lasts is not None and lasts < 0:
            raise UserError(path, f"row {row} has a duration of {lasts:g} s", "correct it")
        shown.append({"onset": starts, "duration": lasts, "stim_file": film})
    return sorted(shown, key=lambda row: row["onset"])


def _seconds(path: Path, row: int, column: str, text: str) -> float | None:
    """A cell as a number of seconds; None where it holds none."""
    if text.strip().lower() in NONE:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        wrong = f"row {row} has {column} {text!r}, which is not a number of seconds"
        raise UserError(path, wrong, "write it as 12.5, or as n/a where a duration is not known")
    return value
