"""A pen that draws in a figure's own coordinates: y up, ground at 0, a figure 1 unit tall."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
INK: Colour = (38, 34, 44)


class Pen:
    """Draws on an image through a shift, a scale, a rotation and a mirror.

    Args:
        image: RGB canvas, drawn on in place.
        origin: pixel of the point (0, 0).
        unit: pixels per unit of length.
        mirror: -1 to look left, 1 to look right.
    """

    def __init__(self, image: Image.Image, origin: Point, unit: float, mirror: int = 1) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit, self._mirror = unit, mirror
        self._origin = origin
        self.outline = max(1, round(unit * 0.016))
        self._turn = (1.0, 0.0, 0.0, 0.0)  # cos, sin, dx, dy in units

    def placed(self, dx: float = 0.0, dy: float = 0.0, degrees: float = 0.0) -> Pen:
        """The same pen with shifted and then anticlockwise rotated coordinates."""
        other = Pen.__new__(Pen)
        other.__dict__.update(self.__dict__)
        cos, sin, x, y = self._turn
        angle = math.radians(degrees)
        c, s = math.cos(angle), math.sin(angle)
        other._turn = (
            cos * c - sin * s,
            sin * c + cos * s,
            cos * dx - sin * dy + x,
            sin * dx + cos * dy + y,
        )
        return other

    def _pixel(self, point: Point) -> Point:
        cos, sin, dx, dy = self._turn
        x, y = point
        x, y = cos * x - sin * y + dx, sin * x + cos * y + dy
        return (
            self._origin[0] + self._mirror * x * self._unit,
            self._origin[1] - y * self._unit,
        )

    def disc(
        self, x: float, y: float, r: float, fill: Colour | None, ink: Colour | None = INK
    ) -> None:
        """A circle; without `fill`, a ring."""
        px, py = self._pixel((x, y))
        r *= self._unit
        self._draw.ellipse(
            (px - r, py - r, px + r, py + r),
            fill,
            ink,
            self.outline if fill else max(self.outline * 2, 2),
        )

    def oval(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, ink: Colour | None = INK
    ) -> None:
        """An ellipse that is rotated with the pen."""
        around = [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in _ANGLES]
        self.shape(around, fill, ink)

    def shape(self, points: Sequence[Point], fill: Colour, ink: Colour | None = INK) -> None:
        """A filled polygon."""
        self._draw.polygon([self._pixel(p) for p in points], fill, ink, self.outline)

    def line(self, points: Sequence[Point], fill: Colour = INK, width: float = 0.02) -> None:
        """A line with round ends and joints."""
        pixels = [self._pixel(p) for p in points]
        thick = max(1, round(width * self._unit))
        self._draw.line(pixels, fill, thick, "curve")
        if thick > 3:
            r = thick / 2 - 0.5
            for x, y in (pixels[0], pixels[-1]):
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill)

    def limb(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A thick line with an outline: an arm or a leg."""
        self.line(points, INK, width + 2.2 * self.outline / self._unit)
        self.line(points, fill, width)


_ANGLES = [math.tau * k / 20 for k in range(20)]
