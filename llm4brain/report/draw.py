"""Small inline SVG drawings; their colours come from the style sheet of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from llm4brain.report.cells import compact

WIDTH = 190  # px, size of interval drawings in a table


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95% interval, which may be NaN; a mean has no interval."""

    label: str
    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def text(self) -> str:
        ends = f" [{compact(self.low)}, {compact(self.high)}]" if np.isfinite(self.low) else ""
        return f"{self.label} {compact(self.value)}{ends}"


def axis(values: Sequence[float], most: int = 5, whole: bool = False) -> list[float]:
    """Round ticks; the first and last are the ends of an axis that includes all values.

    Args:
        values: values that are not finite are ignored.
        most: approximate number of ticks.
        whole: only whole numbers.

    >>> axis([2.0, 516.1])
    [0.0, 200.0, 400.0, 600.0]
    """
    known = [float(v) for v in values if np.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if high == low:  # a single point is placed in the middle
        room = 1.0 if whole else abs(low) / 10 or 1.0
        low, high = low - room, high + room
    steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
    places = MaxNLocator(most, integer=whole, steps=steps).tick_values(low, high)
    step = places[1] - places[0]
    return [float(p) for p in places if low - step < p < high + step]


def ticks(places: Sequence[float]) -> list[str]:
    """Ticks as text, with enough decimals to distinguish them.

    >>> ticks([0.69, 0.6925, 0.695])
    ['0.6900', '0.6925', '0.6950']
    """
    near = (places[1] - places[0]) / 1e3
    digits = next(d for d in range(16) if all(abs(round(p, d) - p) <= near for p in places))
    return [f"{p + 0.0:.{digits}f}" for p in places]


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that includes all values and zero."""
    places = axis([*values, 0.0])
    return places[0], places[-1]


def intervals(
    found: Sequence[Interval],
    between: tuple[float, float],
    mean: float | None = None,
    zero: bool = False,
    width: int = WIDTH,
) -> Markup:
    """Points with intervals, one below the other, on the common axis of a column.

    Args:
        found: one per subject, from top to bottom.
        between: ends of the axis.
        mean: drawn as a bar across all rows.
        zero: draw a line at zero, for differences.
        width: width of the drawing, px.
    """
    step, pad = 8, 5
    height = max(len(found), 1) * step + 6

    def x(value: float) -> float:
        return round(pad + (width - 2 * pad) * (value - between[0]) / (between[1] - between[0]), 1)

    parts = [
        Markup('<line class="rule" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(
            pad, width - pad, height - 1
        )
    ]
    if zero:
        parts.append(_line("zero", x(0.0), x(0.0), 0, height))
    if mean is not None and np.isfinite(mean):
        parts.append(_line("mean", x(mean), x(mean), 1, height - 3))
    for i, each in enumerate(found):
        if not np.isfinite(each.value):
            continue
        y = 3 + step * i + step / 2
        if np.isfinite(each.low):
            parts.append(_line("range", x(each.low), x(each.high), y, y))
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="2.6"/>').format(x(each.value), y)
        )
    told = "; ".join(each.text for each in found if np.isfinite(each.value)) or "no number"
    if mean is not None and np.isfinite(mean):
        told = f"mean {compact(mean)}; {told}"
    return _svg("intervals", width, height, told, parts)


@dataclass(frozen=True)
class Series:
    """A line: x, y (NaN where there is no value), and the ends of its intervals, if any."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    look: str = "main"


def curve(
    series: Sequence[Series],
    across: str,
    along: str,
    marks: Sequence[tuple[float, str]] = (),
    holds: Sequence[float] = (),
    size: tuple[int, int] = (320, 200),
) -> Markup:
    """A line chart with ticks.

    Args:
        series: lines; an interval becomes a band.
        across: label of the x axis, with unit.
        along: label of the y axis.
        marks: position and name of dashed vertical lines.
        holds: further values that the y axis must include.
        size: width and height, px.
    """
    (width, height), right, top, bottom = size, 10, 26, 36
    every = [v for s in series for v in (*s.y, *s.low, *s.high)]
    x_ticks = axis([v for s in series for v in s.x], 6, whole=True)
    y_ticks = axis([*every, *holds])
    left = 14 + 6.2 * max(map(len, ticks(y_ticks)))  # width of the widest tick, px

    def x(value: float) -> float:
        share = (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return round(left + share * (width - left - right), 1)

    def y(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(height - bottom - share * (height - bottom - top), 1)

    text = Markup('<text class="{}" x="{}" y="{}">{}</text>')
    parts = [text.format("title", 2, 12, along)]
    for tick, name in zip(y_ticks, ticks(y_ticks), strict=True):
        parts.append(_line("grid", left, width - right, y(tick), y(tick)))
        parts.append(text.format("end", left - 6, y(tick) + 3.5, name))
    for tick, name in zip(x_ticks, ticks(x_ticks), strict=True):
        parts.append(text.format("middle", x(tick), height - bottom + 15, name))
    parts.append(text.format("middle", (left + width - right) / 2, height - 5, across))
    for place, _ in marks:
        parts.append(_line("mark", x(place), x(place), top, height - bottom))
    for each in series:
        known = [i for i, v in enumerate(each.y) if np.isfinite(v)]
        if len(each.low):
            ring = [(each.x[i], each.low[i]) for i in known]
            ring += [(each.x[i], each.high[i]) for i in reversed(known)]
            points = " ".join(f"{x(a)},{y(b)}" for a, b in ring)
            parts.append(Markup('<polygon class="band" points="{}"/>').format(points))
        points = " ".join(f"{x(each.x[i])},{y(each.y[i])}" for i in known)
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(each.look, points))
        if each.look == "main":
            parts += [
                Markup('<circle class="dot" cx="{}" cy="{}" r="2.4"/>').format(
                    x(each.x[i]), y(each.y[i])
                )
                for i in known
            ]
    told = "; ".join(_course(each) for each in series)
    told += "".join(f"; {name} at {compact(place)}" for place, name in marks)
    return _svg("curve", width, height, f"{along} against {across}: {told}", parts)


def _course(series: Series) -> str:
    """Start and end of a line as text, for screen readers."""
    known = [i for i, v in enumerate(series.y) if np.isfinite(v)]
    if not known:
        return f"{series.label}, no number"
    ends = [f"{compact(series.y[i])} at {compact(series.x[i])}" for i in (known[0], known[-1])]
    best = max(known, key=lambda i: series.y[i])
    peak = f", highest {compact(series.y[best])} at {compact(series.x[best])}"
    return f"{series.label} from {ends[0]} to {ends[1]}{peak}"


def _line(look: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(look, x1, x2, y1, y2)


def _svg(look: str, width: int, height: int, told: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{0}" viewBox="0 0 {1} {2}" width="{1}" height="{2}" role="img" '
        'aria-label="{3}"><title>{3}</title>{4}</svg>'
    ).format(look, width, height, told, Markup("").join(parts))
