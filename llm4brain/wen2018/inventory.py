"""What `llm4brain wen2018 check` says of a download: what is there, missing, short or extra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llm4brain.wen2018 import disk, facts
from llm4brain.wen2018.facts import Scan

CAPTIONS = "_captions.tsv"  # of one's own beside the films: docs/wen2018.md


def inventory(roots: Sequence[str | Path]) -> tuple[list[str], list[str]]:
    """Look through a download.

    A subject or a kind of which nothing is there is said to be away, and is no fault.

    Returns:
        lines to read, and what is missing or not whole, a short text each.
    """
    where = disk.homes(roots)
    lines = [f"data: {home}" for home in where]
    found = disk.look(where, "mni", facts.FILMS, [])
    lines.append(f"films: {len(found.films)} of {len(facts.FILMS)}")
    faults = list(_told(lines, found.missing_films, disk.spoilt(found), "film"))
    for subject in facts.SUBJECTS:
        there = False
        for kind in facts.KINDS:
            scans = facts.scans(subject, facts.STIMULI)
            found = disk.look(where, kind, [], scans)
            if not found.scans:
                continue
            there = True
            whole = f"{len(found.scans)} of {len(scans)} runs"
            lines.append(f"subject{subject}, {kind}: {whole}")
            missing = [scan.name for scan in found.missing_scans]
            who = f"subject{subject} {kind} run"
            faults += _told(lines, missing, disk.spoilt(found), who)
        lines += [] if there else [f"subject{subject}: nothing"]
    for (subject, name), why in facts.LEFT_OUT.items():
        lines.append(f"subject{subject}/{name}: not used, {why}")
    lines += [f"extra: {path}" for path in _extra(where)]
    return lines, faults


def _told(lines: list[str], missing: list[str], spoilt: list[str], what: str) -> Iterator[str]:
    """Append a line for what is missing, and one for each file that is not whole; count both."""
    if missing:
        lines.append(f"  missing: {', '.join(missing)}")
        yield f"{len(missing)} {what}{'s' * (len(missing) > 1)} missing"
    lines += [f"  {fault}" for fault in spoilt]
    if spoilt:
        yield f"{len(spoilt)} {what}{'s' * (len(spoilt) > 1)} not whole"


def _extra(where: Sequence[Path]) -> list[str]:
    """Files that are no part of Wen 2018, and those of which an earlier root has another copy."""
    published = {f"stimuli/{film}" for film in facts.FILMS}
    for subject in facts.SUBJECTS:
        for stimulus in facts.STIMULI:
            for repeat in facts.repeats(stimulus):
                for kind in facts.KINDS:
                    published |= set(Scan(subject, stimulus, repeat).files(kind))
    told, seen = [], set()
    for home in where:
        for pattern in ("stimuli/*", *(f"subject*/fmri/*/{kind}/*" for kind in facts.KINDS)):
            for path in sorted(home.glob(pattern)):
                name = path.relative_to(home).as_posix()
                if path.name.startswith(".") or path.name.endswith(CAPTIONS):
                    continue
                if name not in published:
                    told.append(name)
                elif name in seen:
                    told.append(f"{path}, which an earlier folder has too")
                seen.add(name)
    return told
