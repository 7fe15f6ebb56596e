"""Areas by name: `V1`, `L_V1`, `L_V1_ROI` and how label files spell them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm4brain.errors import UserError

SIDE = "(?P<side>lh|rh|left|right|l|r)"
ENDS = (
    re.compile(rf"^(?P<rest>.+)[-_. ]{SIDE}$", re.IGNORECASE),
    re.compile(rf"^(?:ctx[-_.])?{SIDE}[-_. ](?P<rest>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<rest>.+)[-_. ]roi$", re.IGNORECASE),
)


@dataclass(frozen=True)
class Area:
    """An area as its file names it, and its columns in the data."""

    name: str
    columns: np.ndarray


def parse(name: str) -> tuple[str | None, str]:
    """The side and the bare name of an area, however it is written.

    >>> parse("L_V1_ROI"), parse("rh.MT"), parse("V1_ROI-lh"), parse("LIPv")
    (('L', 'V1'), ('R', 'MT'), ('L', 'V1'), (None, 'LIPv'))
    >>> parse("CORTEX_LEFT"), parse("V1")
    (('L', 'CORTEX'), (None, 'V1'))
    """
    side, rest, before = None, name.strip(), None
    while rest != before:
        before = rest
        for end in ENDS:
            if match := end.match(rest):
                side = side or (match.groupdict().get("side") or "")[:1].upper() or None
                rest = match["rest"]
    return side, rest


def choose(
    wanted: Sequence[str],
    known: Sequence[Area],
    sides: Mapping[str, np.ndarray],
    where: object,
) -> list[tuple[str, np.ndarray]]:
    """The columns of each area that is asked for, area after area; none of them twice.

    A name without a side means both; capitals decide only where names differ in nothing else.

    Args:
        wanted: names as the user writes them.
        known: areas of the atlas, and the file's own structures.
        sides: columns of the left (`L`) and right (`R`) cortex, for atlases whose names have none.
        where: the file of the areas, for the message.

    Raises:
        UserError: one line with every name that nothing is known by, its near matches, and the
            areas of which the data hold no grayordinate.
    """
    parsed = [(*parse(area.name), area.columns) for area in known]
    bare = sorted({rest for _, rest, _ in parsed})
    faults, found, taken = [], [], np.zeros(0, dtype=int)
    for name in wanted:
        side, rest = parse(name)
        same = [p for p in parsed if p[1] == rest]
        same = same or [p for p in parsed if p[1].casefold() == rest.casefold()]
        if not same:
            near = difflib.get_close_matches(rest, bare, n=3, cutoff=0.5)
            faults.append(f"{name} (near: {', '.join(near)})" if near else name)
            continue
        parts = [
            np.intersect1d(own, sides[side]) if side and of is None else own
            for of, _, own in same
            if side is None or of in (None, side)
        ]
        columns = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=int)
        if not len(columns):
            faults.append(f"{name} (the data hold none of it)")
        columns = np.setdiff1d(columns, taken)
        taken = np.union1d(taken, columns)
        found.append((name, columns))
    if faults:
        todo = "correct bold.rois, or name a bold.atlas (.dlabel.nii) that has them"
        raise UserError(where, f"has no area {', '.join(faults)}", todo)
    return found
