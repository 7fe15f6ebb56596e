"""Files of the same content, without reading more of each than is needed to tell them apart."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path


def twice(files: Iterable[tuple[Path, str]]) -> tuple[Path, Path] | None:
    """Two files of the same content, or None; empty files are nobody's copies.

    Args:
        files: path and group; two of one group may be alike, unless the group is "".
    """
    alike: dict[tuple[int, bytes], list[tuple[Path, str]]] = {}
    for file, group in files:
        if file.is_file() and file.stat().st_size:
            alike.setdefault(_ends(file), []).append((file, group))
    for own in alike.values():
        seen: dict[str, tuple[Path, str]] = {}
        for file, group in own if len(own) > 1 else ():
            first, other = seen.setdefault(_content(file), (file, group))
            if first != file and not (group and group == other):
                return file, first
    return None


def _ends(file: Path) -> tuple[int, bytes]:
    """What files of one content share, without reading them: size and end.

    Of gzip the end alone, which is checksum and length of what is packed: packed twice, the same
    data may differ in size.
    """
    packed = file.suffix == ".gz"
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - (8 if packed else 2**16)))
        return 0 if packed else size, opened.read()


def _content(file: Path) -> str:
    """SHA-256 of what a file holds, unpacked; of one that does not unpack its path."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return str(file)
