"""The six places. Each variant is drawn once and then panned behind the figure."""

from __future__ import annotations

import random
from functools import cache

from PIL import Image, ImageDraw, ImageFilter

VARIANTS = 5
MARGIN = 1.25  # a background is wider than the frame, so that the camera can pan
GROUND = 0.86  # height of the ground, as a fraction of the frame's height
_Box = tuple[float, float, float, float]


@cache
def background(place: str, variant: int, size: int) -> Image.Image:
    """One of `VARIANTS` pictures of a place, `size` pixels high and `MARGIN` times as wide."""
    rng = random.Random(f"{place} {variant}")
    width = round(size * MARGIN)
    image = Image.new("RGB", (width, size))
    draw = _Brush(ImageDraw.Draw(image), size)
    _PAINTERS[place](draw, rng)
    light = rng.uniform(0.94, 1.06)
    return image.filter(ImageFilter.GaussianBlur(size / 220)).point(
        lambda v: min(255, round(v * light))
    )


class _Brush:
    """Draws in units of the frame height, y downwards."""

    def __init__(self, draw: ImageDraw.ImageDraw, size: int) -> None:
        self._draw, self._size = draw, size

    def box(self, box: _Box, fill: tuple[int, int, int]) -> None:
        self._draw.rectangle([v * self._size for v in box], fill)

    def disc(self, x: float, y: float, r: float, fill: tuple[int, int, int]) -> None:
        s = self._size
        self._draw.ellipse(((x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s), fill)

    def oval(self, box: _Box, fill: tuple[int, int, int]) -> None:
        self._draw.ellipse([v * self._size for v in box], fill)

    def shape(self, points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        self._draw.polygon([(x * self._size, y * self._size) for x, y in points], fill)

    def sky(self, top: tuple[int, int, int], low: tuple[int, int, int], until: float) -> None:
        for k in range(24):
            mix = k / 23
            fill = tuple(round(a + (b - a) * mix) for a, b in zip(top, low, strict=True))
            self.box((0, until * k / 24, MARGIN, until * (k + 1) / 24), fill)  # type: ignore[arg-type]


def _beach(draw: _Brush, rng: random.Random) -> None:
    draw.sky((112, 196, 240), (196, 232, 248), 0.45)
    draw.disc(rng.uniform(0.15, 1.1), 0.14, 0.09, (255, 226, 110))
    draw.box((0, 0.42, MARGIN, 0.66), (46, 140, 196))
    for _ in range(9):
        x, y = rng.uniform(0, 1.2), rng.uniform(0.45, 0.6)
        draw.oval((x, y, x + 0.14, y + 0.012), (210, 238, 246))
    draw.box((0, 0.62, MARGIN, 0.66), (226, 244, 246))
    draw.box((0, 0.65, MARGIN, 1), (240, 218, 164))
    x = rng.choice([0.1, 1.02])
    draw.shape([(x, 0.72), (x + 0.03, 0.72), (x + 0.07, 0.26), (x + 0.045, 0.26)], (146, 104, 62))
    for dx, dy in ((-0.17, 0.07), (-0.11, -0.06), (0.08, -0.08), (0.18, 0.03), (0.13, 0.13)):
        tip = (x + 0.06 + dx, 0.26 + dy)
        draw.shape([(x + 0.06, 0.22), (x + 0.06 + dx / 2, 0.18 + dy / 2), tip], (58, 148, 84))


def _forest(draw: _Brush, rng: random.Random) -> None:
    draw.sky((176, 214, 176), (208, 230, 190), 0.7)
    draw.box((0, 0.6, MARGIN, 1), (132, 162, 88))
    for row, leaf in enumerate(((104, 158, 100), (74, 132, 76), (48, 104, 58))):
        for k in range(8):
            x = (k + rng.uniform(-0.2, 0.2)) * 0.18 + 0.06 * row
            base, half = 0.66 + 0.05 * row, 0.085 + 0.02 * row
            draw.box((x - 0.018, base - 0.12, x + 0.018, base + 0.04), (98, 70, 46))
            for tier in range(3):
                top = base - 0.56 + 0.14 * tier - 0.03 * row + rng.uniform(-0.02, 0.02)
                wide = half * (0.6 + 0.25 * tier)
                draw.shape([(x, top), (x - wide, top + 0.22), (x + wide, top + 0.22)], leaf)
    draw.box((0, 0.75, MARGIN, 1), (132, 162, 88))
    for _ in range(40):
        x, y = rng.uniform(0, 1.25), rng.uniform(0.77, 0.98)
        draw.shape([(x, y), (x + 0.008, y - 0.03), (x + 0.016, y)], (98, 134, 66))


def _city(draw: _Brush, rng: random.Random) -> None:
    draw.sky((190, 208, 224), (224, 228, 232), 0.74)
    x = -0.05
    while x < MARGIN:
        wide, top = rng.uniform(0.16, 0.24), rng.uniform(0.08, 0.4)
        wall = rng.choice([(168, 132, 116), (150, 152, 162), (186, 168, 142), (132, 142, 158)])
        draw.box((x, top, x + wide, 0.74), wall)
        pane = rng.choice([(250, 236, 170), (222, 236, 246)])
        columns = int(wide / 0.06)
        for row in range(int((0.68 - top) / 0.09)):
            for column in range(columns):
                wx, wy = x + 0.02 + column * 0.06, top + 0.03 + row * 0.09
                draw.box((wx, wy, wx + 0.034, wy + 0.05), pane)
        x += wide + 0.012
    draw.box((0, 0.74, MARGIN, 0.8), (176, 174, 172))
    draw.box((0, 0.8, MARGIN, 1), (104, 106, 112))
    for k in range(6):
        draw.box((k * 0.24, 0.93, k * 0.24 + 0.13, 0.95), (236, 232, 214))


def _mountains(draw: _Brush, rng: random.Random) -> None:
    draw.sky((132, 176, 222), (214, 230, 244), 0.7)
    for k in range(4):
        x, top = k * 0.36 + rng.uniform(-0.06, 0.06), rng.uniform(0.1, 0.26)
        wide = rng.uniform(0.28, 0.36)
        draw.shape([(x, top), (x - wide, 0.72), (x + wide, 0.72)], (112, 124, 148))
        cap = 0.4
        edge = [
            (x - wide * cap, top + (0.72 - top) * cap),
            (x - wide * 0.15, top + (0.72 - top) * 0.3),
            (x, top + (0.72 - top) * 0.42),
            (x + wide * 0.17, top + (0.72 - top) * 0.3),
            (x + wide * cap, top + (0.72 - top) * cap),
        ]
        draw.shape([(x, top), *edge], (246, 250, 252))
    draw.oval((-0.4, 0.66, 0.8, 1.1), (226, 236, 246))
    draw.oval((0.4, 0.68, 1.7, 1.1), (226, 236, 246))
    draw.box((0, 0.78, MARGIN, 1), (226, 236, 246))
    for _ in range(34):
        draw.disc(rng.uniform(0, 1.25), rng.uniform(0, 0.95), 0.008, (255, 255, 255))


def _room(draw: _Brush, rng: random.Random) -> None:
    draw.box((0, 0, MARGIN, 0.74), rng.choice([(232, 208, 178), (238, 214, 186)]))
    for k in range(9):
        draw.box((k * 0.15, 0, k * 0.15 + 0.012, 0.74), (222, 194, 160))
    draw.box((0, 0.72, MARGIN, 0.75), (250, 244, 234))
    draw.box((0, 0.75, MARGIN, 1), (164, 112, 70))
    for k in range(5):
        draw.box((0, 0.79 + k * 0.05, MARGIN, 0.795 + k * 0.05), (140, 92, 56))
    window, sofa = rng.choice([(0.12, 0.72), (0.86, 0.14)])
    draw.box((window - 0.02, 0.1, window + 0.3, 0.46), (250, 246, 238))
    draw.box((window, 0.12, window + 0.28, 0.44), (166, 212, 240))
    draw.box((window + 0.13, 0.12, window + 0.15, 0.44), (250, 246, 238))
    draw.box((window, 0.27, window + 0.28, 0.285), (250, 246, 238))
    draw.oval((sofa - 0.03, 0.46, sofa + 0.43, 0.7), (124, 140, 140))
    draw.box((sofa - 0.05, 0.6, sofa + 0.45, 0.76), (104, 120, 122))
    draw.box((sofa + 0.08, 0.14, sofa + 0.32, 0.36), (120, 84, 54))
    draw.box((sofa + 0.1, 0.16, sofa + 0.3, 0.34), (206, 220, 196))


def _moon(draw: _Brush, rng: random.Random) -> None:
    draw.box((0, 0, MARGIN, 1), (18, 20, 44))
    for _ in range(60):
        r = rng.choice([0.003, 0.005, 0.008])
        draw.disc(rng.uniform(0, 1.25), rng.uniform(0, 0.7), r, (240, 240, 220))
    x = rng.uniform(0.2, 1.05)
    draw.disc(x, 0.18, 0.12, (62, 124, 206))
    draw.oval((x - 0.08, 0.1, x + 0.02, 0.19), (86, 160, 96))
    draw.oval((x + 0.0, 0.18, x + 0.09, 0.26), (86, 160, 96))
    draw.oval((-0.5, 0.66, 1.75, 1.6), (168, 168, 174))
    draw.box((0, 0.84, MARGIN, 1), (168, 168, 174))
    for _ in range(8):
        x, y, r = rng.uniform(0, 1.2), rng.uniform(0.76, 0.97), rng.uniform(0.03, 0.07)
        draw.oval((x - r, y - r * 0.35, x + r, y + r * 0.35), (128, 128, 136))
        draw.oval((x - r * 0.8, y - r * 0.2, x + r * 0.8, y + r * 0.3), (146, 146, 154))


_PAINTERS = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "mountains": _mountains,
    "room": _room,
    "moon": _moon,
}
