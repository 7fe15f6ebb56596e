"""The reference captions used for scoring."""

from __future__ import annotations

import re

import pandas as pd

from llm4brain.errors import UserError

BARS = re.compile(r"\s*\|{3,}\s*")  # what parts sentences where METEOR reads them


def unbarred(text: str) -> str:
    """A caption without `|||`, which pycocoevalcap counts as words in all metrics but METEOR."""
    return BARS.sub(" ", text)


def references_of(
    captions: pd.DataFrame, clip_ids: list[str], where: object = "captions"
) -> list[list[str]]:
    """The captions of each clip, in the order of the file.

    Raises:
        UserError: a clip has no caption, or an empty one.
    """
    own = captions.groupby("clip_id", sort=False)["caption"].agg(list).to_dict()
    missing = [clip for clip in clip_ids if clip not in own]
    if missing:
        wrong = f"has no caption for {len(missing)} clips, such as {missing[0]}"
        raise UserError(where, wrong, "caption every clip, or make the file again")
    for clip in clip_ids:
        if not all(isinstance(text, str) and text.strip() for text in own[clip]):
            raise UserError(where, f"has an empty caption for {clip}", "fill it or drop its row")
    return [[unbarred(text) for text in own[clip]] for clip in clip_ids]
