"""Read captions from common file formats: several JSON layouts, or a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm4brain.errors import UserError
from llm4brain.evaluate.references import unbarred
from llm4brain.io import read_json, read_table

IDS = ("clip_id", "image_id", "video_id", "id")
WORDS = ("caption", "text")


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Captions of each clip, in the order of the file.

    JSON is {id: caption}, {id: [captions]}, or a list of {"image_id": id, "caption": text}, which
    is the COCO results format (also under "annotations", as in COCO references). A TSV or CSV has a
    column clip_id (or image_id, video_id, id) and a column caption (or text), one row per caption.

    Raises:
        UserError: the file has none of these layouts, has an id twice in an object, or contains no
            caption.
    """
    if Path(path).suffix.lower() == ".json":
        pairs = _pairs(read_json(path, once=True), path)
    else:
        table = read_table(path)
        names = [next((n for n in known if n in table), None) for known in (IDS, WORDS)]
        if None in names:
            wrong = f"has the columns {', '.join(table)}"
            raise UserError(path, wrong, f"rename two columns to {IDS[0]} and {WORDS[0]}")
        table = table.astype({names[0]: str})
        pairs = zip(table[names[0]], table[names[1]], strict=True)
    captions: dict[str, list[str]] = {}
    for clip, caption in pairs:
        if caption != caption or caption is None:  # an empty cell
            caption = ""
        if not isinstance(caption, str):
            raise UserError(path, f"has no text for {clip} but {caption!r}", "write a caption")
        captions.setdefault(str(clip), []).append(unbarred(caption))
    if not captions:
        raise UserError(path, "holds no caption", "name another file")
    return captions


def _pairs(found: Any, path: str | Path) -> Iterable[tuple[Any, Any]]:
    """(id, caption) pairs of any supported JSON layout."""
    if isinstance(found, dict) and isinstance(found.get("annotations"), list):
        found = found["annotations"]
    if isinstance(found, dict):
        for clip, own in found.items():
            for caption in own if isinstance(own, list) else [own]:
                yield clip, caption["caption"] if _has_caption(caption) else caption
    elif isinstance(found, list) and all(map(_has_caption, found)):
        for each in found:
            clip = next((each[name] for name in IDS if name in each), None)
            if clip is None:
                raise UserError(path, "has a caption of no clip", f"give each one {IDS[1]}")
            yield clip, each["caption"]
    else:
        raise UserError(path, "is no JSON of captions", "write it as {id: caption}")


def _has_caption(value: Any) -> bool:
    return isinstance(value, dict) and "caption" in value


def aligned(
    predictions: dict[str, list[str]], references: dict[str, list[str]], where: object
) -> tuple[list[str], list[str], list[list[str]]]:
    """Ids, with the single prediction and the references of each.

    Raises:
        UserError: an id occurs on one side only, or has several predictions. Leaving out clips
            would change the scores and their meaning.
    """
    several = [clip for clip, own in predictions.items() if len(own) > 1]
    if several:
        wrong = f"has {len(predictions[several[0]])} captions for {several[0]}"
        raise UserError(where, wrong, "give one prediction per clip")
    for one, other, what in (
        (predictions, references, "references"),
        (references, predictions, "predictions"),
    ):
        lone = [clip for clip in one if clip not in other]
        if lone:
            some = f"{lone[0]} has" if len(lone) == 1 else f"{len(lone)} clips have"
            more = "" if len(lone) == 1 else f", such as {lone[0]}"
            wrong = f"{some} no {what}{more}"
            raise UserError(where, wrong, "give both files the same clips")
    ids = list(predictions)
    return ids, [predictions[i][0] for i in ids], [references[i] for i in ids]
