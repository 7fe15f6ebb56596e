"""Feature matrices that may be larger than memory, and products of them.

Each window has one feature per position: 15 KB for the default phantom, 0.1 MB for a whole brain
at 4 mm. Matrices that do not fit in memory are stored in an unnamed temporary file, which is gone
when the process ends, and products are computed in blocks of columns.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np

from llm4brain.errors import UserError

HELD = 2**30  # largest array kept in memory, bytes
BLOCK = 2**29  # largest block of columns multiplied at once, bytes


def allocate(rows: int, columns: int) -> np.ndarray:
    """Allocate an uninitialised (rows, columns) float32; on disk (TMPDIR) if larger than `HELD`.

    Raises:
        UserError: the disk is full.
    """
    size = rows * columns * 4
    if size <= HELD:
        return np.empty((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile() as file:  # the mapping stays valid after the file is closed
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk kills the process later
        except OSError as error:
            wrong = f"has no {size / 1e9:.0f} GB for features ({error.strerror})"
            raise UserError(tempfile.gettempdir(), wrong, "point TMPDIR elsewhere") from None
        return np.memmap(file, np.float32, "w+", shape=(rows, columns))


def blocks(rows: int, columns: int) -> list[slice]:
    """Slices of columns so that `rows` rows of a slice take at most `BLOCK` bytes."""
    width = max(1, BLOCK // (4 * rows))
    return [slice(start, start + width) for start in range(0, columns, width)]


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T for (n, columns) and (m, columns): (n, m) float32."""
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
