"""Frames of a scene: a figure in action in front of a place; each showing differs slightly."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from llm4brain.phantom.actions import draw_action, travel
from llm4brain.phantom.figures import PAINT
from llm4brain.phantom.grammar import Scene
from llm4brain.phantom.pen import Pen
from llm4brain.phantom.places import GROUND, MARGIN, VARIANTS, background

OVERSAMPLE = 2
# Figures whose props reach far ahead are placed further back in the frame.
_AHEAD = {"kite": 0.2, "paint": 0.2, "water": 0.26, "kick": 0.24, "read": 0.08, "guitar": 0.08}


@dataclass(frozen=True)
class Look:
    """What differs between two showings of one scene.

    Attributes:
        variant: which picture of the place.
        pan: start and length of the camera pan, as fractions of the spare width.
        shift: of the figure, in figure units.
        size: of the figure, as a fraction of the frame height.
        mirror: 1 looks right, -1 left.
        phase: of the movement, radians.
        pace: speed of the movement, about 1.
        tint: added to each channel of the garment's colour.
    """

    variant: int
    pan: tuple[float, float]
    shift: float
    size: float
    mirror: int
    phase: float
    pace: float
    tint: tuple[int, int, int]

    @classmethod
    def draw(cls, rng: random.Random) -> Look:
        """A random look."""
        start = rng.random()
        return cls(
            variant=rng.randrange(VARIANTS),
            pan=(start, rng.uniform(-0.5, 0.5)),
            shift=rng.uniform(-0.09, 0.09),
            size=rng.uniform(0.56, 0.64),
            mirror=rng.choice((-1, 1)),
            phase=rng.uniform(0, math.tau),
            pace=rng.uniform(0.88, 1.12),
            tint=(rng.randint(-10, 10), rng.randint(-10, 10), rng.randint(-10, 10)),
        )


def frame(scene: Scene, look: Look, time: float, size: int) -> Image.Image:
    """One frame, `size` x `size` RGB, `time` seconds after the clip began."""
    large = size * OVERSAMPLE
    picture = background(scene.place, look.variant, large)
    spare = round(large * MARGIN) - large
    at = min(1.0, max(0.0, look.pan[0] + look.pan[1] * time / 4))
    left = round(spare * at)
    canvas = picture.crop((left, 0, left + large, large))

    time *= look.pace
    unit = look.size * large
    across = (
        look.shift - _AHEAD.get(scene.action, 0.0) + 0.3 * travel(scene.action, time, look.phase)
    )
    foot = (large * 0.5 + look.mirror * across * unit, large * GROUND)
    pen = Pen(canvas, foot, unit, look.mirror)
    if scene.action not in ("sleep", "jump", "bike"):
        shade = tuple(round(0.72 * v) for v in canvas.getpixel((large // 8, round(large * 0.9))))
        pen.oval(0.02, -0.01, 0.24, 0.045, shade, None)  # type: ignore[arg-type]
    red, green, blue = (
        min(255, max(0, a + b)) for a, b in zip(PAINT[scene.colour], look.tint, strict=True)
    )
    draw_action(pen, scene.action, scene.who, (red, green, blue), time, look.phase)
    return canvas.reduce(OVERSAMPLE)


def clip_frames(
    scene: Scene, look: Look, seconds: float, fps: float, size: int
) -> Iterator[Image.Image]:
    """All frames of a clip."""
    for k in range(round(seconds * fps)):
        yield frame(scene, look, k / fps, size)
