"""Captions from other sources: written by people and stored with the films, or a user's table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from llm4brain.errors import UserError, some
from llm4brain.io import read_table
from llm4brain.provenance import sha256

Span = tuple[float, float]  # onset and duration, seconds


def film_captions(film: Path) -> dict[Span, list[str]]:
    """The captions stored next to a film as `<film>_captions.tsv`.

    Returns:
        (onset, duration) -> the captions of that clip, in the order of the table.

    Raises:
        UserError: the table is missing, lacks a column, or has an empty caption.
    """
    path = film.with_name(f"{film.stem}_captions.tsv")
    table = read_table(path, ("onset", "duration", "caption"))
    if table.empty or table["caption"].fillna("").str.strip().eq("").any():
        raise UserError(path, "holds an empty caption or none", "write it or drop the row")
    found: dict[Span, list[str]] = {}
    for row in table.itertuples():
        found.setdefault((float(row.onset), float(row.duration)), []).append(row.caption.strip())
    return found


def human_captions(clips: pd.DataFrame, stimuli: Path) -> pd.DataFrame:
    """Match each clip with the captions that people wrote for it.

    Args:
        clips: clip_id, stim_file, onset, duration.
        stimuli: the folder that stim_file is relative to.

    Returns:
        clip_id, caption, source (`human`); several rows per clip.

    Raises:
        UserError: a film has no captions, or a clip has none.
    """
    rows = []
    for stim_file, group in clips.groupby("stim_file", sort=False):
        film = stimuli / stim_file
        # Onsets come from two tables, so they are matched to the millisecond.
        by_onset = {round(onset, 3): texts for (onset, _), texts in film_captions(film).items()}
        for clip in group.itertuples():
            if round(clip.onset, 3) not in by_onset:
                raise UserError(
                    film, f"has no caption of the clip at {clip.onset:g} s",
                    "add it, or set captions.score to generated",
                )  # fmt: skip
            rows += [(clip.clip_id, text, "human") for text in by_onset[round(clip.onset, 3)]]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])


def file_captions(clips: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Match each clip with the captions in a table of the user's, whatever their origin.

    Args:
        clips: clip_id, stim_file, onset.
        path: table with a column caption, and clip_id, or stim_file and onset (s).

    Returns:
        clip_id, caption, source (the table's name and hash), in the order of `clips`, with one or
        more rows per clip; and the films that are in the table but not in `clips`.

    Raises:
        UserError: there is no such table, a caption is empty, a clip has no caption, or a caption
            is for a clip that does not exist in a film of `clips`.
    """
    table = read_table(path, ("caption",))
    by_name = "clip_id" in table
    if not by_name and not {"stim_file", "onset"} <= set(table):
        raise UserError(path, "has no column clip_id", "add it, or stim_file and onset")
    if table.empty or (empty := table["caption"].fillna("").str.strip().eq("")).any():
        row = "it is empty" if table.empty else f"row {int(empty.to_numpy().argmax()) + 2}"
        raise UserError(path, f"holds an empty caption or none ({row})", "write it or drop the row")

    def keys(of: pd.DataFrame) -> list[tuple[str, object]]:
        """Film and clip of each row; onsets from two tables are matched to the millisecond."""
        if by_name:
            return [(name.rpartition("_")[0], name) for name in of["clip_id"]]
        onsets = of["onset"].astype(float).round(3)
        return list(zip(of["stim_file"].astype(str), onsets, strict=True))

    found: dict[tuple[str, object], list[str]] = {}
    for key, text in zip(keys(table), table["caption"].str.strip(), strict=True):
        found.setdefault(key, []).append(text)
    wanted = dict(zip(keys(clips), clips["clip_id"], strict=True))
    if missing := [clip for key, clip in wanted.items() if key not in found]:
        raise UserError(path, f"has no caption of {some(missing)}", "caption every clip")
    films = {film for film, _ in wanted}
    strange = [key for key in found if key not in wanted and key[0] in films]
    if strange:
        unknown = [str(c) if by_name else f"{film} at {c:g} s" for film, c in strange]
        todo = "drop their rows, or correct clips.duration"
        raise UserError(path, f"has captions for clips that do not exist: {some(unknown)}", todo)
    source = f"{path.name} {sha256(path)[:12]}"
    rows = [(clip, text, source) for key, clip in wanted.items() for text in found[key]]
    others = sorted({film for film, _ in found} - films)
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"]), others
