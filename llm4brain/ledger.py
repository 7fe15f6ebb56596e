"""Find changed inputs that Snakemake overlooks, from its records of jobs (`.snakemake/metadata`).

Snakemake checks a file only if its modification time is later than the output's: checksums can
prevent reruns but never cause one. It would miss changed files with an old modification time
(`cp -p`, `rsync -a`, an archive).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm4brain.io import write_json
from llm4brain.provenance import sha256

LEDGER = Path(".snakemake/metadata")
SEEN = Path(".snakemake/llm4brain/checksums.json")  # cache of computed checksums


def records(ledger: Path = LEDGER) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each output that Snakemake has made, and its record.

    File names are base64, split into folders that begin with @ if they are too long.
    """
    for path in sorted(ledger.rglob("*")):
        if not path.is_file():
            continue
        *folders, last = path.relative_to(ledger).parts
        name = "".join([*(folder.removeprefix("@") for folder in folders), last])
        try:
            made = Path(base64.urlsafe_b64decode(name).decode())
            yield made, json.loads(path.read_text())
        except (binascii.Error, UnicodeDecodeError, json.JSONDecodeError):
            continue  # incomplete file of a killed run: Snakemake treats the job as incomplete


def changed_unnoticed(ledger: Path = LEDGER, seen: Path = SEEN) -> list[tuple[Path, Path]]:
    """Inputs that changed after an output was made from them, but have an older modification time.

    Only files are checked that changed on disk after the job that read them (ctime, which tools
    cannot set) and whose modification time is not later than the output's; Snakemake compares newer
    files itself.

    Returns:
        each such input, once, with an output that is out of date.
    """
    known = json.loads(seen.read_text()) if seen.is_file() else {}
    hashed, found = {}, {}
    for made, record in records(ledger):
        if not made.is_file():
            continue
        date = made.lstat().st_mtime  # of a link itself, as Snakemake compares
        for name, checksum in (record.get("input_checksums") or {}).items():
            path = Path(name)
            if path in found or not path.is_file():
                continue
            now = path.stat()
            if now.st_mtime > date or now.st_ctime <= (record.get("endtime") or 0):
                continue
            key = [now.st_size, now.st_mtime_ns, now.st_ctime_ns]
            if name not in hashed:
                before = known.get(name, {})
                same = before.get("key") == key
                hashed[name] = before if same else {"key": key, "sha256": sha256(path)}
            if f"sha256:{hashed[name]['sha256']}" != checksum:
                found[path] = made
    if hashed:
        write_json(seen, known | hashed)
    return list(found.items())


def made_with(path: str | Path, param: str, ledger: Path = LEDGER) -> bool:
    """Whether a file's record has this param; also True if there is no record."""
    found = [record for made, record in records(ledger) if made == Path(path)]
    return all(repr(param) in record.get("params", []) for record in found)
