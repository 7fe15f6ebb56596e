"""The six figures: one jointed body with six different heads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llm4brain.phantom.pen import INK, Colour, Pen, Point

PAINT: dict[str, Colour] = {
    "red": (218, 32, 38),
    "yellow": (252, 214, 32),
    "green": (30, 150, 60),
    "blue": (32, 84, 214),
    "purple": (146, 44, 176),
    "white": (250, 250, 250),
}
_SKIN: dict[str, Colour] = {  # hands and legs
    "girl": (247, 205, 172),
    "cat": (240, 152, 66),
    "dog": (150, 98, 56),
    "rabbit": (240, 232, 226),
    "penguin": (44, 46, 58),
    "robot": (160, 168, 178),
}
_SHOE: dict[str, Colour] = {"penguin": (250, 160, 30), "girl": (96, 62, 48)}
_BLACK: Colour = (30, 28, 34)
_PINK: Colour = (246, 168, 178)


@dataclass(frozen=True)
class Pose:
    """Positions of hands and feet, in figure units; these determine the rest of the body.

    Attributes:
        far_hand, near_hand, far_foot, near_foot: points; near limbs are drawn over the body.
        lean: how far the shoulders are ahead of the hip.
        lift: how far the whole body is above the ground.
        knee: bend of the legs forward; negative bends backward.
        elbow: bend of the arms downward.
        asleep: eyes closed.
    """

    far_hand: Point = (0.2, 0.3)
    near_hand: Point = (-0.2, 0.3)
    far_foot: Point = (0.09, 0.03)
    near_foot: Point = (-0.09, 0.03)
    lean: float = 0.0
    lift: float = 0.0
    knee: float = 0.0
    elbow: float = 0.03
    asleep: bool = False


def _bent(a: Point, b: Point, dx: float, dy: float) -> list[Point]:
    return [a, ((a[0] + b[0]) / 2 + dx, (a[1] + b[1]) / 2 + dy), b]


def draw_figure(pen: Pen, who: str, shirt: Colour, pose: Pose, time: float) -> None:
    """Draw one figure that stands at the pen's origin and looks along +x."""
    skin, up = _SKIN[who], pose.lift
    shoe = _SHOE.get(who, skin)
    hip, neck = (0.0, 0.24 + up), (pose.lean, 0.5 + up)

    def moved(point: Point) -> Point:
        return (point[0], point[1] + up)

    def leg(foot: Point, side: float) -> None:
        foot = moved(foot)
        joints = _bent((hip[0] + side, hip[1]), foot, pose.knee, abs(pose.knee) * 0.3)
        pen.limb(joints, skin, 0.075)
        pen.oval(foot[0] + 0.035, foot[1], 0.075, 0.038, shoe)

    def arm(hand: Point, side: float) -> None:
        hand = moved(hand)
        shoulder = (neck[0] + side, neck[1] - 0.06)
        pen.limb(_bent(shoulder, hand, 0.0, -pose.elbow), shirt, 0.085)
        pen.disc(*hand, 0.052, skin)

    if who in ("cat", "dog"):
        wag = 0.05 * math.sin(time * 7)
        tail = [(-0.1, 0.26 + up), (-0.24, 0.28 + up), (-0.29, 0.4 + up + wag)]
        pen.limb(tail, skin, 0.045)
    elif who == "rabbit":
        pen.disc(-0.16, 0.27 + up, 0.07, (252, 250, 248))
    arm(pose.far_hand, 0.09)
    leg(pose.far_foot, 0.06)
    leg(pose.near_foot, -0.06)
    x, y = neck
    pen.shape(  # the shirt, in the colour of the scene
        [
            (x - 0.13, y),
            (x + 0.13, y),
            (hip[0] + 0.17, hip[1] - 0.06),
            (hip[0] - 0.17, hip[1] - 0.06),
        ],
        shirt,
    )
    _HEADS[who](pen.placed(x * 1.3, y + 0.21), pose.asleep)
    arm(pose.near_hand, -0.09)


def _eyes(pen: Pen, x: float, y: float, gap: float, asleep: bool, r: float = 0.032) -> None:
    for side in (-gap, gap):
        if asleep:
            pen.line([(x + side - 0.035, y), (x + side + 0.035, y)], INK, 0.02)
        else:
            pen.disc(x + side, y, r, _BLACK, None)


def _girl(pen: Pen, asleep: bool) -> None:
    hair = (92, 50, 28)
    for side in (-1, 1):
        pen.oval(side * 0.27, -0.06, 0.075, 0.15, hair)
    pen.disc(0, 0.02, 0.245, hair)
    pen.oval(0.02, -0.035, 0.19, 0.175, _SKIN["girl"], None)
    pen.shape([(-0.19, 0.05), (0.0, 0.17), (0.2, 0.05), (0.1, 0.09), (-0.02, 0.07)], hair, None)
    _eyes(pen, 0.04, -0.03, 0.08, asleep)
    pen.line([(-0.02, -0.12), (0.04, -0.14), (0.1, -0.12)], (190, 60, 60), 0.022)


def _cat(pen: Pen, asleep: bool) -> None:
    fur = _SKIN["cat"]
    for side in (-1, 1):
        pen.shape([(side * 0.06, 0.14), (side * 0.24, 0.34), (side * 0.24, 0.06)], fur)
        pen.shape([(side * 0.12, 0.15), (side * 0.2, 0.25), (side * 0.2, 0.1)], _PINK, None)
    pen.oval(0, 0, 0.26, 0.215, fur)
    for x in (-0.06, 0.0, 0.06):
        pen.line([(x, 0.2), (x, 0.11)], (170, 92, 28), 0.024)
    pen.oval(0.02, -0.09, 0.1, 0.07, (252, 236, 214), None)
    _eyes(pen, 0.02, 0.02, 0.105, asleep, 0.038)
    pen.shape([(-0.02, -0.06), (0.06, -0.06), (0.02, -0.1)], _PINK)
    for side in (-1, 1):
        for dy in (-0.03, 0.02):
            pen.line([(0.02 + side * 0.11, -0.09), (0.02 + side * 0.3, -0.09 + dy)], INK, 0.012)


def _dog(pen: Pen, asleep: bool) -> None:
    fur, ear = _SKIN["dog"], (84, 50, 28)
    pen.oval(0, 0, 0.225, 0.215, fur)
    for side in (-1, 1):
        pen.oval(side * 0.235, -0.04, 0.075, 0.185, ear)
    pen.oval(0.05, -0.095, 0.135, 0.1, (232, 204, 170))
    pen.oval(0.06, -0.045, 0.055, 0.04, _BLACK)
    if not asleep:
        pen.oval(0.07, -0.2, 0.038, 0.06, (226, 92, 104))
    _eyes(pen, 0.03, 0.06, 0.09, asleep, 0.034)


def _rabbit(pen: Pen, asleep: bool) -> None:
    fur = (240, 232, 226)
    for x in (-0.1, 0.1):
        pen.oval(x, 0.33, 0.07, 0.2, fur)
        pen.oval(x, 0.33, 0.033, 0.14, _PINK, None)
    pen.disc(0, 0, 0.22, fur)
    _eyes(pen, 0.02, 0.03, 0.085, asleep, 0.034)
    pen.oval(0.02, -0.05, 0.035, 0.025, _PINK)
    pen.shape([(-0.015, -0.09), (0.055, -0.09), (0.055, -0.14), (-0.015, -0.14)], (255, 255, 255))
    pen.line([(0.02, -0.09), (0.02, -0.14)], INK, 0.01)


def _penguin(pen: Pen, asleep: bool) -> None:
    pen.disc(0, 0, 0.225, _SKIN["penguin"])
    for side in (-1, 1):
        pen.oval(0.03 + side * 0.075, 0.0, 0.095, 0.12, (250, 250, 250), None)
    _eyes(pen, 0.03, 0.02, 0.075, asleep, 0.034)
    pen.shape([(-0.05, -0.04), (0.12, -0.04), (0.06, -0.15)], (250, 160, 30))


def _robot(pen: Pen, asleep: bool) -> None:
    steel = (186, 194, 204)
    pen.line([(0, 0.2), (0, 0.33)], INK, 0.03)
    pen.disc(0, 0.35, 0.05, (240, 90, 60))
    for side in (-1, 1):
        pen.shape(_box(side * 0.26, 0, 0.04, 0.07), (120, 128, 140))
    pen.shape(_box(0, 0, 0.24, 0.2), steel)
    pen.shape(_box(0.02, 0.05, 0.19, 0.075), (24, 32, 44), None)
    for x in (-0.07, 0.11):
        if asleep:
            pen.line([(x - 0.04, 0.05), (x + 0.04, 0.05)], (90, 230, 240), 0.02)
        else:
            pen.disc(x, 0.05, 0.045, (90, 230, 240), None)
    for x in (-0.08, 0.0, 0.08):
        pen.shape(_box(x + 0.02, -0.11, 0.03, 0.035), (90, 98, 110), None)


def _box(x: float, y: float, w: float, h: float) -> list[Point]:
    """Corners of a box about (x, y), half as wide as `w`, half as high as `h`."""
    return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]


_HEADS = {
    "girl": _girl,
    "cat": _cat,
    "dog": _dog,
    "rabbit": _rabbit,
    "penguin": _penguin,
    "robot": _robot,
}
