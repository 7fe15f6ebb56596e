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


def same(name: str, known: Sequence[str]) -> list[int]:
    """Which of `known` have the bare name of `name`, sides apart.

    Capitals decide only where names differ in nothing else.
    """
    _, rest = parse(name)
    bare = [parse(each)[1] for each in known]
    exact = [k for k, each in enumerate(bare) if each == rest]
    return exact or [k for k, each in enumerate(bare) if each.casefold() == rest.casefold()]


def check(wanted: Sequence[str], known: Sequence[str], where: object) -> None:
    """Refuse names that nothing is known by.

    Raises:
        UserError: one line with each of them and its near matches.
    """
    bare = sorted({parse(each)[1] for each in known})
    faults = []
    for name in wanted:
        if not same(name, known):
            near = difflib.get_close_matches(parse(name)[1], bare, n=3, cutoff=0.5)
            faults.append(f"{name} (near: {', '.join(near)})" if near else name)
    if faults:
        todo = "correct bold.rois, or name a bold.atlas (.dlabel.nii) that has them"
        raise UserError(where, f"has no area {', '.join(faults)}", todo)


def choose(
    wanted: Sequence[str],
    known: Sequence[Area],
    sides: Mapping[str, np.ndarray],
    where: object,
) -> list[tuple[str, np.ndarray]]:
    """The columns of each area that is asked for, area after area; none of them twice.

    A name without a side means both.

    Args:
        wanted: names as the user writes them.
        known: areas of the atlas, and the file's own structures.
        sides: columns of the left (`L`) and right (`R`) cortex, for atlases whose names have none.
        where: the file of the areas, for the message.

    Raises:
        UserError: see `check`; or the data hold no grayordinate of an area.
    """
    names = [area.name for area in known]
    check(wanted, names, where)
    found, taken = [], np.zeros(0, dtype=int)
    for name in wanted:
        side = parse(name)[0]
        parts = [np.zeros(0, dtype=int)]
        for k in same(name, names):
            of = parse(names[k])[0]
            if side and of is None:
                parts.append(np.intersect1d(known[k].columns, sides[side]))
            elif side is None or of == side:
                parts.append(known[k].columns)
        columns = np.unique(np.concatenate(parts))
        if not len(columns):
            wrong = f"names {name}, of which the data hold no grayordinate"
            raise UserError(where, wrong, "correct bold.rois")
        found.append((name, np.setdiff1d(columns, taken)))
        taken = np.union1d(taken, columns)
    return found
