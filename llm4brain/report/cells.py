"""Numbers on the page: as in the files in tables, rounded in sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from llm4brain.errors import UserError

NO_NUMBER = "n/a"
LABELS = ("subject", "run")  # "01" is a label, not a number


def read_cells(path: str | Path) -> pd.DataFrame:
    """A CSV with all cells as text, unchanged.

    Raises:
        UserError: the file is missing, or is not a table.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(path, "does not exist", "run the step that makes it") from None
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not a table ({error})", "make it again") from None


def numeric(cells: pd.DataFrame) -> pd.DataFrame:
    """The same table with numeric values, NaN where there is none; words and labels stay text.

    >>> found = numeric(pd.DataFrame({"subject": ["01"], "cider": ["n/a"], "best": ["True"]}))
    >>> found.dtypes["cider"], found.loc[0, "subject"], found.loc[0, "best"]
    (dtype('float64'), '01', 'True')
    """
    found = cells.copy()
    for column in (c for c in cells if c not in LABELS):
        known = cells[column].where(~cells[column].isin([NO_NUMBER, ""]))
        values = pd.to_numeric(known, errors="coerce")
        if values.notna().eq(known.notna()).all():
            found[column] = values.astype(float)
    return found


def said(metric: str, value: float, signed: bool = False) -> str:
    """A value in a sentence: CIDEr as a whole number, similarity with two decimals, percent with
    one. Differences have a sign; differences of percentages are in points.

    >>> said("cider", 152.4), said("similarity", 0.456), said("top1", 33.33)
    ('152', '0.46', '33.3%')
    >>> said("top1", 2.5, signed=True)
    '+2.5'
    """
    if not np.isfinite(value):
        return NO_NUMBER
    digits = {"similarity": 2, "top1": 1}.get(metric, 0)
    rounded = round(value, digits) + 0.0
    sign = "+" if signed and rounded else ""
    unit = "%" if metric == "top1" and not signed else ""
    return f"{rounded:{sign}.{digits}f}{unit}"


def compact(value: float) -> str:
    """Text of an axis tick, or of a value in a figure."""
    return f"{value + 0.0:.4g}" if np.isfinite(value) else NO_NUMBER
