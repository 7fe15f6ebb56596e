"""How numbers are written: in tables as their files have them, in sentences rounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from llm4brain.evaluate.names import AMONG_100, DIVERSITY, METRICS, P_VALUES

NO_NUMBER = "n/a"
SCORES = (*METRICS, *AMONG_100, *DIVERSITY)


def shown(column: str, value: Any) -> str:
    """A cell as its file has it: metrics with two decimals, four for similarity, p in two digits;
    what is none of table 1's numbers in six digits.

    >>> shown("cider", 152.4), shown("similarity_low", 0.4), shown("top1_p", 0.00012)
    ('152.40', '0.4000', '0.00012')
    >>> shown("n_clips", 120), shown("system", "ridge"), shown("cider", float("nan"))
    ('120', 'ridge', 'n/a')
    >>> shown("val_loss", 0.617569), shown("minutes", 32.0)
    ('0.617569', '32')
    """
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return NO_NUMBER
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer) or not isinstance(value, float | np.floating):
        return str(value)
    if column in (*P_VALUES, "p"):
        return f"{value:.2g}"
    if column.removesuffix("_low").removesuffix("_high") not in SCORES:
        return f"{value + 0.0:.6g}"
    digits = 4 if column.startswith("similarity") else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"


def said(metric: str, value: float, signed: bool = False) -> str:
    """A value in a sentence: a whole number, similarity with two decimals, percent as such.

    >>> said("cider", 152.4), said("similarity", 0.456), said("top1", 33.3, signed=True)
    ('152', '0.46', '+33%')
    """
    if not np.isfinite(value):
        return NO_NUMBER
    digits = 2 if metric == "similarity" else 0
    rounded = round(value, digits) + 0.0
    return (
        f"{rounded:{'+' if signed and rounded else ''}.{digits}f}{'%' if metric == 'top1' else ''}"
    )


def compact(value: float) -> str:
    """A tick of an axis, or a value that a picture names."""
    return f"{value + 0.0:.4g}" if np.isfinite(value) else NO_NUMBER
