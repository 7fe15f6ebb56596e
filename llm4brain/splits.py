"""Assign whole stimuli to train, validation and test: by name, by pattern, or by a table."""

from __future__ import annotations

from glob import has_magic
from itertools import chain
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from llm4brain.errors import UserError
from llm4brain.io import read_table
from llm4brain.sections import SPLITS, Splits

CAPTIONS = "_captions.tsv"  # suffix of caption tables, which are stored next to the stimuli
LEAST_TRAIN = 2


def resolve(splits: Splits, stimuli: Path, clips: Path | None = None) -> Splits:
    """The splits, with patterns and tables resolved to names of stimuli.

    Args:
        splits: names of stimuli (`stim_file`), patterns (`train/*.mp4`), or the path of a table.
        stimuli: the folder that stim_file is relative to.
        clips: the clip table made from the stimuli, if the stimuli are no longer there.

    Raises:
        UserError: a pattern matches no file, a table cannot be read or has an unknown split, a
            stimulus is in two splits, a split is empty, or train has a single stimulus.
    """
    named = {name: getattr(splits, name) for name in SPLITS}
    if splits.table is None and not any(map(has_magic, chain(*named.values()))):
        found, where = named, "splits"
    elif clips is not None:
        found, where = _of_table(clips, unique=True), str(clips)
    elif splits.table is not None:
        found, where = _of_table(Path(splits.table)), splits.table
    else:
        found = {name: _matches(named[name], name, stimuli) for name in SPLITS}
        where = "splits"
    try:
        made = Splits(**found)
    except ValidationError as error:
        wrong = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(where, wrong, "put each stimulus into one split") from None
    if len(made.train) < LEAST_TRAIN:
        raise UserError(f"{where}: train", "is one stimulus; cross-fitting needs two", "name more")
    return made


def _matches(names: list[str], split: str, stimuli: Path) -> list[str]:
    """Names unchanged, and each pattern replaced by its matching files, sorted."""
    found: list[str] = []
    for name in names:
        if not has_magic(name) or (stimuli / name).is_file():  # names may contain brackets
            found.append(name)
            continue
        own = [] if Path(name).is_absolute() else stimuli.glob(name)
        files = [p.relative_to(stimuli).as_posix() for p in own if p.is_file()]
        if not (films := sorted(f for f in files if not f.endswith(CAPTIONS))):
            raise UserError(
                f"splits.{split}", f"no file of {stimuli} is like {name}", "correct the pattern"
            )
        found += films
    return found


def _of_table(path: Path, *, unique: bool = False) -> dict[str, list[str]]:
    """Split -> its stimuli, in the order of the table; rows with split n/a are omitted.

    Args:
        unique: whether to drop repeated stimuli, as in a clip table with many rows per stimulus.
    """
    table: pd.DataFrame = read_table(path, ("stim_file", "split")).dropna(subset=["split"])
    if unknown := sorted(set(table["split"].astype(str)) - set(SPLITS)):
        wrong = f"holds the split {unknown[0]}"
        raise UserError(path, wrong, f"write one of {', '.join(SPLITS)}, or n/a")
    if unique:
        table = table.drop_duplicates("stim_file")
    table["stim_file"] = table["stim_file"].astype(str)
    return {name: list(table.loc[table["split"] == name, "stim_file"]) for name in SPLITS}
