"""Captions that people wrote, as they lie beside the films."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from llm4brain.errors import UserError
from llm4brain.io import read_table

Span = tuple[float, float]  # onset and duration, seconds


def film_captions(film: Path) -> dict[Span, list[str]]:
    """The captions that lie beside a film as `<film>_captions.tsv`.

    Returns:
        (onset, duration) -> the captions of that clip, in the order of the table.

    Raises:
        UserError: the table is missing, lacks a column, or holds an empty caption.
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
    """Join each clip with the captions that people wrote of it.

    Args:
        clips: clip_id, stim_file, onset, duration.
        stimuli: the folder that stim_file is relative to.

    Returns:
        clip_id, caption, source (`human`); several rows a clip.

    Raises:
        UserError: a film without captions, or a clip without one.
    """
    rows = []
    for stim_file, group in clips.groupby("stim_file", sort=False):
        film = stimuli / stim_file
        # Onsets come from two tables, so they are joined to the millisecond.
        by_onset = {round(onset, 3): texts for (onset, _), texts in film_captions(film).items()}
        for clip in group.itertuples():
            if round(clip.onset, 3) not in by_onset:
                raise UserError(
                    film, f"has no caption of the clip at {clip.onset:g} s",
                    "add it, or set captions.score to generated",
                )  # fmt: skip
            rows += [(clip.clip_id, text, "human") for text in by_onset[round(clip.onset, 3)]]
    return pd.DataFrame(rows, columns=["clip_id", "caption", "source"])
