"""Decoded texts, checked before scoring: every system must have every clip exactly once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.names import CENTRE, KINDS, TRUTH
from llm4brain.evaluate.references import unbarred
from llm4brain.evaluate.retrieval import correlations


def texts_of(decoded: pd.DataFrame) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """Clips, kind of each system, text of each system and clip; checks completeness."""
    if decoded.empty:
        raise UserError("decoded", "holds no row", "decode again")
    where, todo = "decoded", "decode again"
    clip_ids = list(dict.fromkeys(decoded["clip_id"]))
    kinds, texts = {}, {}
    for system, own in decoded.groupby("system", sort=True):
        system = str(system)
        if system in (CENTRE, TRUTH) or not system.isidentifier():
            wrong = f"'{system}' cannot be the name of a system"
            raise UserError(where, wrong, "use letters, digits and _, not centre or truth")
        if sorted(own["clip_id"]) != sorted(clip_ids):
            wrong = f"'{system}' does not have each of the {len(clip_ids)} clips once"
            raise UserError(where, wrong, todo)
        kind = set(own["kind"])
        if len(kind) != 1 or not kind <= set(KINDS):
            wrong = f"'{system}' has the kind {', '.join(map(str, sorted(kind, key=str)))}"
            raise UserError(where, wrong, f"use one of {', '.join(KINDS)}")
        kinds[system] = kind.pop()
        said = own.set_index("clip_id")["text"].reindex(clip_ids)
        texts[system] = ["" if pd.isna(text) else unbarred(str(text)) for text in said]
    return clip_ids, kinds, texts


def crossed(
    arrays: Mapping[str, np.ndarray], order: list[str], clip_ids: list[str]
) -> dict[str, np.ndarray]:
    """Correlation of each reading with each clip, for systems with readings: (n, n)."""
    for name in (TRUTH, CENTRE):
        if name not in arrays:
            raise UserError("readings", f"hold no array '{name}'", "decode again")
    if sorted(order) != sorted(clip_ids):
        wrong = f"are of {len(order)} clips that are not the {len(clip_ids)} decoded ones"
        raise UserError("readings", wrong, "decode again")
    at = {clip: i for i, clip in enumerate(order)}
    rows = [at[clip] for clip in clip_ids]
    result = {}
    for name in sorted(set(arrays) - {CENTRE}):
        if len(arrays[name]) != len(order):
            wrong = f"'{name}' has {len(arrays[name])} rows for {len(order)} clips"
            raise UserError("readings", wrong, "decode again")
        if name != TRUTH:
            result[name] = correlations(arrays[name][rows], arrays[TRUTH][rows], arrays[CENTRE])
    return result
