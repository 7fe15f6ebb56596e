"""The twelve actions: a pose at each moment, and the props that belong to it.

Each action can be recognised from the props and pose of a single frame, and also moves in its own
way. Rates are not multiples of 1 Hz, so frames taken one second apart differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import cos, pi, sin

from llm4brain.phantom.figures import Pose, draw_figure
from llm4brain.phantom.pen import INK, Colour, Pen, Point

_WOOD: Colour = (166, 108, 56)
_STEEL: Colour = (150, 160, 170)
_PAPER: Colour = (252, 250, 240)
Body = Callable[[Pen, Pose], None]


def draw_action(pen: Pen, action: str, who: str, shirt: Colour, time: float, phase: float) -> None:
    """Draw a figure in action at `time` (s); `phase` (radians) differs between showings."""

    def body(where: Pen, pose: Pose) -> None:
        draw_figure(where, who, shirt, pose, time + phase)

    _ACTIONS[action](pen, body, time, phase)


def travel(action: str, time: float, phase: float) -> float:
    """Horizontal position of a moving figure, from -1 to 1 (figures look along +x)."""
    if action not in ("run", "bike"):
        return 0.0
    return ((time * 0.31 + phase / math.tau) % 1.0) * 2 - 1


def _run(pen: Pen, body: Body, time: float, phase: float) -> None:
    step = sin(time * 9.1 + phase)
    step = (0.45 + 0.55 * abs(step)) * (1 if step > 0 else -1)  # no frame with the legs together
    for y, length in ((0.62, 0.2), (0.45, 0.28), (0.28, 0.2)):
        pen.line([(-0.36, y), (-0.36 - length, y)], (250, 250, 250), 0.028)
    for k in range(3):
        drift = (time * 1.7 + k / 3) % 1
        pen.disc(-0.3 - 0.3 * drift, 0.05 + 0.05 * drift, 0.03 + 0.05 * drift, (226, 218, 204))
    body(
        pen,
        Pose(
            far_hand=(0.12 + 0.2 * step, 0.38 + 0.08 * step),
            near_hand=(0.12 - 0.24 * step, 0.38 - 0.08 * step),
            far_foot=(-0.27 * step, 0.05 + 0.13 * max(0.0, step)),
            near_foot=(0.27 * step, 0.05 + 0.13 * max(0.0, -step)),
            lean=0.13,
            lift=0.05 * abs(cos(time * 9.1 + phase)),
            knee=0.07,
            elbow=0.08,
        ),
    )


def _jump(pen: Pen, body: Body, time: float, phase: float) -> None:
    high = abs(sin(time * 3.7 + phase))
    sag = 0.07 * max(0.0, 0.3 - high)
    for x in (-0.42, -0.2, 0.2, 0.42):
        pen.line([(x, 0.13), (x * 1.06, -0.04)], (90, 96, 108), 0.035)
    pen.oval(0, 0.13, 0.5, 0.075, (236, 116, 44))
    pen.oval(0, 0.13 - sag, 0.4, 0.05, (44, 46, 56))
    wave = 0.05 * sin(time * 11 + phase)
    body(
        pen,
        Pose(
            far_hand=(0.29, 0.72 + wave),
            near_hand=(-0.29, 0.72 - wave),
            far_foot=(0.15, 0.06),
            near_foot=(-0.17, 0.06),
            lift=0.12 + 0.34 * high - sag,
            knee=0.03,
            elbow=0.02,
        ),
    )


def _sleep(pen: Pen, body: Body, time: float, phase: float) -> None:
    breath = 0.012 * sin(time * 1.9 + phase)
    pen.shape([(-0.62, 0.0), (0.62, 0.0), (0.62, 0.09), (-0.62, 0.09)], (120, 134, 160))
    pen.oval(-0.42, 0.16, 0.17, 0.085, _PAPER)
    lying = pen.placed(0.42, 0.2 + breath, 90)
    body(
        lying,
        Pose(far_hand=(0.13, 0.3), near_hand=(0.02, 0.28), lean=0.0, elbow=0.0, asleep=True),
    )
    for k in range(3):
        rise = (time * 0.37 + phase / math.tau + k / 3) % 1
        x, y, s = -0.26 + 0.36 * rise, 0.5 + 0.46 * rise, 0.04 + 0.07 * rise
        zed = [(x - s, y + s), (x + s, y + s), (x - s, y - s), (x + s, y - s)]
        pen.line(zed, _PAPER, 0.06)
        pen.line(zed, INK, 0.03)


def _read(pen: Pen, body: Body, time: float, phase: float) -> None:
    pen.shape([(-0.24, 0.0), (0.16, 0.0), (0.16, 0.2), (-0.24, 0.2)], _WOOD)
    body(
        pen,
        Pose(
            far_hand=(0.36, 0.3),
            near_hand=(0.14, 0.22),
            far_foot=(0.3, -0.03),
            near_foot=(0.2, -0.05),
            knee=0.12,
            elbow=0.04,
            lift=0.06,
        ),
    )
    y = 0.37 + 0.012 * sin(time * 2.3 + phase)
    x = 0.3
    pen.shape(
        [(x - 0.25, y + 0.1), (x, y + 0.01), (x + 0.25, y + 0.1), (x + 0.25, y - 0.19),
         (x, y - 0.27), (x - 0.25, y - 0.19)],
        (128, 62, 40),
    )  # fmt: skip
    for side in (-1, 1):
        page = [(x, y), (x + side * 0.22, y + 0.08), (x + side * 0.22, y - 0.15), (x, y - 0.24)]
        pen.shape(page, _PAPER)
        for k in range(3):
            low = y - 0.04 - 0.055 * k
            pen.line(
                [(x + side * 0.04, low), (x + side * 0.18, low + 0.05)], (140, 140, 150), 0.016
            )
    turn = cos((time * 1.3 + phase) % pi)
    leaf = [(x, y), (x + 0.2 * turn, y + 0.13), (x + 0.2 * turn, y - 0.1), (x, y - 0.24)]
    pen.shape(leaf, (255, 255, 255))


def _guitar(pen: Pen, body: Body, time: float, phase: float) -> None:
    strum = 0.06 * sin(time * 8.3 + phase)
    sway = 0.03 * sin(time * 2.9 + phase)
    pose = Pose(
        far_hand=(0.44, 0.46),
        near_hand=(-0.02, 0.24 + strum),
        far_foot=(0.12, 0.03),
        near_foot=(-0.12, 0.03),
        lean=sway,
        elbow=0.05,
    )
    body(pen, pose)
    tilted = pen.placed(0.02, 0.21, 30)
    tilted.line([(0.1, 0.0), (0.6, 0.0)], INK, 0.07)
    tilted.line([(0.1, 0.0), (0.6, 0.0)], (112, 66, 36), 0.045)
    tilted.shape([(0.58, -0.055), (0.7, -0.045), (0.7, 0.045), (0.58, 0.055)], (70, 44, 28))
    tilted.disc(-0.09, 0, 0.135, (206, 132, 58))
    tilted.disc(0.09, 0, 0.1, (206, 132, 58))
    tilted.oval(0.0, 0, 0.11, 0.08, (206, 132, 58), None)
    tilted.disc(0.05, 0, 0.04, (60, 36, 24))
    tilted.line([(-0.12, 0.0), (0.62, 0.0)], (240, 232, 214), 0.012)
    pen.disc(-0.02, 0.24 + strum, 0.05, (120, 92, 80))
    for k in range(2):
        rise = (time * 0.53 + phase / math.tau + k / 2) % 1
        x, y = -0.36 - 0.12 * sin(rise * 5), 0.62 + 0.42 * rise
        pen.disc(x, y, 0.04, INK)
        pen.line([(x + 0.035, y), (x + 0.035, y + 0.15), (x + 0.1, y + 0.11)], INK, 0.025)


def _bike(pen: Pen, body: Body, time: float, phase: float) -> None:
    turn = -(time * 5.3 + phase)
    rear, front, crank = (-0.34, 0.19), (0.38, 0.19), (0.0, 0.17)
    for x, y in (rear, front):
        pen.disc(x, y, 0.19, None)
        pen.disc(x, y, 0.165, None, (190, 194, 200))
        for k in range(3):
            a = turn + k * pi / 3
            dx, dy = 0.17 * cos(a), 0.17 * sin(a)
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], (110, 114, 122), 0.012)
    seat, bar = (-0.12, 0.38), (0.3, 0.5)
    pedals: list[Point] = [
        (crank[0] + 0.09 * cos(turn + k * pi), crank[1] + 0.09 * sin(turn + k * pi) - 0.12)
        for k in range(2)
    ]
    frame = [rear, crank, (0.27, 0.42), seat, crank, seat, rear]
    pen.line(frame, (58, 62, 72), 0.04)
    pen.line([front, (0.27, 0.42), bar, (0.38, 0.53)], (58, 62, 72), 0.04)
    pen.line([(-0.2, 0.4), (-0.04, 0.4)], INK, 0.06)
    body(
        pen.placed(-0.1, 0.0),
        Pose(
            far_hand=(0.46, 0.4),
            near_hand=(0.43, 0.38),
            far_foot=(pedals[0][0] + 0.1, pedals[0][1]),
            near_foot=(pedals[1][0] + 0.1, pedals[1][1]),
            lean=0.1,
            lift=0.14,
            knee=0.11,
            elbow=0.05,
        ),
    )


def _eat(pen: Pen, body: Body, time: float, phase: float) -> None:
    bite = 0.5 + 0.5 * sin(time * 2.7 + phase)
    hand = (0.34 - 0.05 * bite, 0.36 + 0.09 * bite)
    body(pen, Pose(far_hand=hand, near_hand=(-0.19, 0.27), elbow=0.1))
    x, y = hand
    pen.shape([(x - 0.085, y + 0.14), (x + 0.085, y + 0.14), (x, y - 0.1)], (222, 164, 92))
    pen.line([(x - 0.05, y + 0.11), (x + 0.03, y)], (176, 116, 56), 0.014)
    pen.disc(x - 0.05, y + 0.19, 0.085, (250, 178, 200))
    pen.disc(x + 0.06, y + 0.19, 0.085, (126, 78, 52))
    pen.disc(x, y + 0.29, 0.085, (252, 244, 214))
    pen.disc(x, y + 0.39, 0.03, (200, 30, 60))


def _kick(pen: Pen, body: Body, time: float, phase: float) -> None:
    beat = (time * 0.83 + phase / math.tau) % 1
    fly = sin(pi * beat)
    swing = max(0.0, 1 - abs(beat - 0.08) * 4)
    body(
        pen,
        Pose(
            far_hand=(0.24, 0.48),
            near_hand=(-0.3, 0.46),
            far_foot=(0.22 + 0.16 * swing, 0.1 + 0.13 * swing),
            near_foot=(-0.08, 0.03),
            lean=-0.06,
            elbow=0.0,
            knee=0.02,
        ),
    )
    x, y = 0.45 + 0.4 * fly, 0.13 + 0.42 * fly
    pen.disc(x, y, 0.125, (252, 252, 252))
    spin = time * 6 + phase
    pen.disc(x, y, 0.045, _BLACK, None)
    for k in range(5):
        a = spin + k * math.tau / 5
        pen.disc(x + 0.09 * cos(a), y + 0.09 * sin(a), 0.03, _BLACK, None)


def _kite(pen: Pen, body: Body, time: float, phase: float) -> None:
    x = 0.55 + 0.1 * sin(time * 1.7 + phase)
    y = 1.1 + 0.07 * sin(time * 2.6 + 2 * phase)
    hand = (0.27, 0.58 + 0.03 * sin(time * 2.6 + phase))
    pen.line(
        [hand, ((x + hand[0]) / 2 + 0.06, (y + hand[1]) / 2 - 0.07), (x, y)], (128, 126, 132), 0.018
    )
    tail = [(x + 0.02 * k + 0.05 * sin(time * 5 + k), y - 0.2 - 0.09 * k) for k in range(5)]
    pen.line(tail, (236, 110, 40), 0.03)
    for tx, ty in tail[1:]:
        pen.shape([(tx - 0.05, ty + 0.03), (tx - 0.05, ty - 0.03), (tx + 0.05, ty + 0.03),
                   (tx + 0.05, ty - 0.03)], (60, 190, 190))  # fmt: skip
    tip, left, right, low = (x, y + 0.24), (x - 0.2, y), (x + 0.2, y), (x, y - 0.26)
    pen.shape([tip, left, low, right], (245, 130, 40))
    pen.shape([tip, (x, y), right], (60, 190, 190))
    pen.shape([left, (x, y), low], (60, 190, 190))
    body(pen, Pose(far_hand=hand, near_hand=(0.16, 0.46), lean=-0.05, elbow=0.0))


def _paint(pen: Pen, body: Body, time: float, phase: float) -> None:
    x, y = 0.56, 0.55
    pen.line([(x - 0.2, 0.0), (x - 0.02, 0.92)], _WOOD, 0.04)
    pen.line([(x + 0.22, 0.0), (x + 0.04, 0.92)], _WOOD, 0.04)
    pen.shape([(x - 0.24, 0.28), (x + 0.24, 0.28), (x + 0.24, 0.34), (x - 0.24, 0.34)], _WOOD)
    pen.shape([(x - 0.22, y - 0.21), (x + 0.24, y - 0.21), (x + 0.24, y + 0.27),
               (x - 0.22, y + 0.27)], _PAPER)  # fmt: skip
    pen.line([(x - 0.12, y - 0.12), (x, y + 0.05), (x + 0.14, y - 0.1)], (60, 150, 150), 0.06)
    pen.disc(x + 0.11, y + 0.15, 0.055, (246, 150, 60), None)
    stroke_x = x - 0.17 + 0.07 * sin(time * 3.9 + phase)
    stroke_y = y + 0.04 + 0.1 * cos(time * 3.1 + phase)
    hand = (stroke_x - 0.15, stroke_y - 0.08)
    body(pen, Pose(far_hand=hand, near_hand=(-0.26, 0.32), lean=0.02, elbow=0.05))
    pen.line([(hand[0] - 0.05, hand[1] - 0.03), (stroke_x, stroke_y)], (90, 54, 30), 0.03)
    pen.disc(stroke_x, stroke_y, 0.03, (246, 110, 60))
    pen.oval(-0.32, 0.33, 0.14, 0.09, (222, 184, 130))
    for dx, dy, dab in ((-0.06, 0.02, (246, 150, 60)), (0.03, 0.04, (60, 150, 150)),
                        (0.06, -0.02, (240, 120, 160))):  # fmt: skip
        pen.disc(-0.32 + dx, 0.33 + dy, 0.026, dab, None)


def _water(pen: Pen, body: Body, time: float, phase: float) -> None:
    tilt = 0.02 * sin(time * 2.3 + phase)
    hand = (0.25, 0.42 + tilt)
    body(pen, Pose(far_hand=hand, near_hand=(0.14, 0.36 + tilt), lean=0.03, elbow=0.02))
    x, y = 0.33, 0.36 + tilt
    pen.disc(x - 0.1, y + 0.07, 0.075, None, (84, 94, 104))
    pen.line([(x + 0.06, y - 0.02), (x + 0.26, y + 0.1)], INK, 0.065)
    pen.line([(x + 0.06, y - 0.02), (x + 0.26, y + 0.1)], _STEEL, 0.045)
    pen.shape([(x + 0.22, y + 0.14), (x + 0.31, y + 0.04), (x + 0.32, y + 0.13)], _STEEL)
    pen.shape([(x - 0.1, y - 0.11), (x + 0.11, y - 0.11), (x + 0.09, y + 0.1),
               (x - 0.09, y + 0.1)], _STEEL)  # fmt: skip
    for k in range(7):
        fall = (time * 1.9 + k * 0.29 + phase) % 1
        dx = x + 0.3 + 0.035 * (k % 3) + 0.08 * fall
        dy = y + 0.06 - 0.3 * fall
        pen.line([(dx, dy), (dx + 0.014, dy - 0.055)], (60, 160, 236), 0.034)
    bob = 0.03 * sin(time * 3.3 + phase)
    fx, fy = 0.74, 0.24
    pen.line([(fx, 0.0), (fx + bob / 2, 0.12), (fx + bob, fy)], (70, 140, 60), 0.04)
    pen.oval(fx - 0.07, 0.09, 0.07, 0.03, (96, 166, 76))
    for k in range(6):
        a = k * pi / 3 + 0.2 * sin(time * 2)
        pen.disc(fx + bob + 0.085 * cos(a), fy + 0.085 * sin(a), 0.06, (244, 128, 176))
    pen.disc(fx + bob, fy, 0.055, (250, 206, 70))


def _juggle(pen: Pen, body: Body, time: float, phase: float) -> None:
    left = 0.05 * sin(time * 5.9 + phase)
    pose = Pose(far_hand=(0.33, 0.42 + left), near_hand=(-0.33, 0.42 - left), elbow=0.09)
    body(pen, pose)
    for k, fill in enumerate(((245, 130, 40), (60, 190, 190), (240, 120, 170), (250, 250, 250))):
        turn = pi * ((time * 0.71 + phase / math.tau + k / 4) % 1)
        x, y = -0.45 * cos(turn), 0.5 + 0.68 * sin(turn)
        pen.disc(x, y, 0.085, fill)


_BLACK: Colour = (30, 28, 34)
_ACTIONS: dict[str, Callable[[Pen, Body, float, float], None]] = {
    "run": _run,
    "jump": _jump,
    "sleep": _sleep,
    "read": _read,
    "guitar": _guitar,
    "bike": _bike,
    "eat": _eat,
    "kick": _kick,
    "kite": _kite,
    "paint": _paint,
    "water": _water,
    "juggle": _juggle,
}
