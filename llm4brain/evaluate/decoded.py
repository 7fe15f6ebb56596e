"""Decoded texts and readings, checked before scoring: each system must have each clip once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.names import KINDS, NORMS, TRUTH
from llm4brain.evaluate.references import unbarred
from llm4brain.evaluate.retrieval import correlations
from llm4brain.io import Arrays, write_arrays


def texts_of(decoded: pd.DataFrame) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """Clips, kind of each system, text of each system and clip; checks completeness."""
    if decoded.empty:
        raise UserError("decoded", "holds no row", "decode again")
    where, todo = "decoded", "decode again"
    clip_ids = list(dict.fromkeys(decoded["clip_id"]))
    kinds, texts = {}, {}
    for system, own in decoded.groupby("system", sort=True):
        system = str(system)
        if system in (TRUTH, NORMS) or not system.isidentifier():
            wrong = f"'{system}' cannot be the name of a system"
            raise UserError(where, wrong, "use letters, digits and _, not truth or norms")
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


def write_readings(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write readings to one file; an array that equals an earlier one is stored as its name."""
    kept, same = {}, {}
    for name, array in sorted(arrays.items()):
        first = next((own for own, other in kept.items() if np.array_equal(array, other)), None)
        if first:
            same[name] = first
        else:
            kept[name] = array
    write_arrays(path, kept, {**meta, "same": same})


def read_readings(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the meta given to `write_readings`."""
    file = Arrays(path)
    arrays = {name: file[name] for name in file.names}
    arrays |= {name: arrays[first] for name, first in file.meta.get("same", {}).items()}
    return arrays, file.meta


def crossed(
    arrays: Mapping[str, np.ndarray], order: list[str], clip_ids: list[str]
) -> dict[str, np.ndarray]:
    """Correlation of each reading with each clip, for systems with readings: (n, n)."""
    for name in (TRUTH, NORMS):
        if name not in arrays:
            raise UserError("readings", f"hold no array '{name}'", "decode again")
    if sorted(order) != sorted(clip_ids):
        wrong = f"are of {len(order)} clips that are not the {len(clip_ids)} decoded ones"
        raise UserError("readings", wrong, "decode again")
    at = {clip: i for i, clip in enumerate(order)}
    rows = [at[clip] for clip in clip_ids]
    result = {}
    for name in sorted(arrays):
        if len(arrays[name]) != len(order):
            wrong = f"'{name}' has {len(arrays[name])} rows for {len(order)} clips"
            raise UserError("readings", wrong, "decode again")
        if name not in (TRUTH, NORMS):
            truth, norms = arrays[TRUTH][rows], arrays[NORMS][rows]
            result[name] = correlations(arrays[name][rows], truth, norms)
    return result
