"""Features of many windows, which may be more than memory holds, and products of them.

A window's features are a number a position: 15 KB of the default phantom's, 0.1 MB of a whole brain
at 4 mm. What does not fit lies in a file of no name, which ends
with the process, and products go over it in blocks of columns.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np

from llm4brain.errors import UserError

HELD = 2**30  # bytes of an array that stays in memory
BLOCK = 2**29  # bytes of columns that are multiplied at once


def room(rows: int, columns: int) -> np.ndarray:
    """(rows, columns) float32 of no value yet; on disk (TMPDIR) where it is larger than `HELD`.

    Raises:
        UserError: the disk has no room.
    """
    size = rows * columns * 4
    if size <= HELD:
        return np.empty((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile() as file:  # the mapping outlives the name and the handle
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk kills the process later
        except OSError as error:
            wrong = f"has no {size / 1e9:.0f} GB for features ({error.strerror})"
            raise UserError(tempfile.gettempdir(), wrong, "point TMPDIR elsewhere") from None
        return np.memmap(file, np.float32, "w+", shape=(rows, columns))


def blocks(rows: int, columns: int) -> list[slice]:
    """Columns in parts of which `rows` rows are no more than `BLOCK`; one, if all fit."""
    width = max(1, BLOCK // (4 * rows))
    return [slice(start, start + width) for start in range(0, columns, width)]


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T of (n, columns) and (m, columns): (n, m) float32."""
    parts = blocks(len(a) if a is b else len(a) + len(b), a.shape[1])
    if len(parts) == 1:
        return a @ b.T
    out = np.zeros((len(a), len(b)), dtype=np.float32)
    for part in parts:
        own = np.ascontiguousarray(a[:, part])
        out += own @ (own if a is b else np.ascontiguousarray(b[:, part])).T
    return out


def weighted(features: np.ndarray, rows: np.ndarray, dual: np.ndarray) -> np.ndarray:
    """features[rows].T @ dual[rows]: (columns, rank)."""
    chosen = dual[rows].astype(features.dtype)
    parts = [features[:, part][rows].T @ chosen for part in blocks(*features.shape)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
