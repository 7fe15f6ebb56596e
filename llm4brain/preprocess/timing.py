"""When a run's volumes were acquired: TR and start by its sidecars, raw or derivative alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm4brain.errors import UserError, warn

SHORTEST, LONGEST = 0.05, 30.0  # s, of a TR; 720 is one in milliseconds
SECONDS = "write it in seconds"


def repetition_time(path: Path, metadata: Mapping[str, Any], header: float | None) -> float:
    """The run's TR in seconds, by its JSON sidecars.

    Args:
        path: of the BOLD, for errors.
        metadata: what the sidecars say, inherited ones included.
        header: s, the TR of the image's header; None where it has none. Where the two differ the
            sidecar's is taken, and a warning says so.

    Raises:
        UserError: the sidecars have none, or one that is not a number of seconds.
    """
    found = metadata.get("RepetitionTime")
    if found is None:
        raise UserError(path, "has no RepetitionTime in its JSON sidecar", "write it there")
    tr = _number(found)
    if not SHORTEST <= tr <= LONGEST:
        raise UserError(
            path,
            f"has a RepetitionTime of {found!r} in its JSON sidecar, no TR in seconds",
            SECONDS,
        )
    if header is not None and abs(header - tr) > 0.01 * tr:
        warn(
            f"{path}: TR is {tr:g} s by its JSON and {header:g} s by its header; the JSON's is used"
        )
    return tr


def start_time(path: Path, metadata: Mapping[str, Any], tr: float) -> float:
    """When the first volume of a derivative was acquired, s after the scan's begin.

    fMRIPrep's StartTime is the moment that slice timing was corrected to. Releases before 20.2.4
    corrected to the middle of the TR and wrote none.

    Raises:
        UserError: a StartTime that is not a number of seconds within the first TR.
    """
    found = metadata.get("StartTime")
    if found is None:
        if metadata.get("SliceTimingCorrected") is not True:
            return 0.0
        warn(
            f"{path}: its slice timing is corrected and its JSON has no StartTime (fMRIPrep before "
            f"20.2.4); TR / 2 = {tr / 2:g} s is taken"
        )
        return tr / 2
    start = _number(found)
    if not 0 <= start <= tr:
        raise UserError(
            path,
            f"has a StartTime of {found!r} in its JSON, not within its TR of {tr:g} s",
            SECONDS,
        )
    return start


def slice_times(path: Path, metadata: Mapping[str, Any], tr: float) -> list[float]:
    """The SliceTiming (s) of a raw run; empty where its sidecars have none.

    Raises:
        UserError: values that are no numbers of seconds within the TR.
    """
    found = metadata.get("SliceTiming") or []
    values = found if isinstance(found, list) else [found]
    wrong = [value for value in values if not 0 <= _number(value) <= tr + 1e-3]
    if wrong:
        raise UserError(
            path, f"has {wrong[0]!r} in its SliceTiming, not within its TR of {tr:g} s", SECONDS
        )
    return [float(value) for value in values]


def _number(value: object) -> float:
    """A number of JSON; NaN for whatever is none, `true` included."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real else math.nan
