"""Scenes of the films, and captions that describe them.

A scene is who does what, where, wearing which colour: 6 x 12 x 6 x 6 = 2,592 combinations.
This module has no slow imports, because the workflow loads it before any job starts.
"""

from __future__ import annotations

import random
from itertools import product
from typing import NamedTuple

WHO = ("girl", "cat", "dog", "rabbit", "penguin", "robot")
ACTION = (
    "run",
    "jump",
    "sleep",
    "read",
    "guitar",
    "bike",
    "eat",
    "kick",
    "kite",
    "paint",
    "water",
    "juggle",
)
PLACE = ("beach", "forest", "city", "mountains", "room", "moon")
COLOUR = ("red", "yellow", "green", "blue", "purple", "white")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "who": WHO,
    "action": ACTION,
    "place": PLACE,
    "colour": COLOUR,
}


class Scene(NamedTuple):
    """Who does what, where, wearing which colour."""

    who: str
    action: str
    place: str
    colour: str

    @property
    def codes(self) -> tuple[int, int, int, int]:
        """Index of each value within its attribute.

        >>> Scene("cat", "run", "moon", "blue").codes
        (1, 0, 5, 3)
        """
        who, action, place, colour = (
            values.index(value) for values, value in zip(ATTRIBUTES.values(), self, strict=True)
        )
        return who, action, place, colour


def every_scene() -> list[Scene]:
    """All combinations, in the grammar's order."""
    return [Scene(*values) for values in product(*ATTRIBUTES.values())]


# Wordings, most common first; the first is used about half of the time.
_WHO = {
    "girl": ("girl", "little girl", "young girl"),
    "cat": ("cat", "orange cat", "kitten"),
    "dog": ("dog", "brown dog", "puppy"),
    "rabbit": ("rabbit", "bunny", "fluffy rabbit"),
    "penguin": ("penguin", "little penguin"),
    "robot": ("robot", "metal robot", "little robot"),
}
_ACTION = {
    "run": ("running", "running fast", "jogging"),
    "jump": ("jumping on a trampoline", "bouncing on a trampoline"),
    "sleep": ("sleeping", "taking a nap", "sleeping on a mat"),
    "read": ("reading a book", "sitting and reading a book", "reading"),
    "guitar": ("playing the guitar", "playing a guitar", "strumming a guitar"),
    "bike": ("riding a bike", "riding a bicycle", "cycling"),
    "eat": ("eating ice cream", "eating an ice cream cone", "licking an ice cream"),
    "kick": ("kicking a ball", "playing football", "kicking a soccer ball"),
    "kite": ("flying a kite", "playing with a kite"),
    "paint": ("painting a picture", "painting on a canvas", "painting"),
    "water": ("watering a flower", "watering a plant", "giving water to a flower"),
    "juggle": ("juggling balls", "juggling", "juggling some balls"),
}
_PLACE = {
    "beach": ("on the beach", "at the beach", "by the sea"),
    "forest": ("in the forest", "in the woods", "among the trees"),
    "city": ("in the city", "on a city street", "in front of tall buildings"),
    "mountains": ("in the snowy mountains", "in the snow", "in front of snowy mountains"),
    "room": ("in a living room", "in the living room", "at home"),
    "moon": ("on the moon", "on the surface of the moon", "in space on the moon"),
}
_GARMENT = ("shirt", "jacket", "sweater")


def _pick(words: tuple[str, ...], rng: random.Random) -> str:
    """The most common word about half of the time, else any."""
    return words[0] if rng.random() < 0.4 else rng.choice(words)


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _worn(colour: str, rng: random.Random) -> str:
    garment = rng.choice(_GARMENT)
    return _pick(
        (
            f"in {_article(f'{colour} {garment}')}",
            f"wearing {_article(f'{colour} {garment}')}",
            f"dressed in {colour}",
        ),
        rng,
    )


def caption(scene: Scene, rng: random.Random) -> str:
    """One caption of the scene, as one of several people might write it.

    Words and word order vary; about one in six captions omits the colour or the place.
    """
    who = _article(_pick(_WHO[scene.who], rng))
    does, where = _pick(_ACTION[scene.action], rng), _pick(_PLACE[scene.place], rng)
    worn = _worn(scene.colour, rng)
    form = rng.choices(
        (
            f"{who} {worn} is {does} {where}",
            f"{where}, {who} {worn} is {does}",
            f"{who} is {does} {where}, {_pick(('wearing', 'dressed in'), rng)} {scene.colour}",
            f"there is {who} {worn} {does} {where}",
            f"{who} {worn} {does} {where}",
            f"{who} is {does} {where}",
            f"{who} {worn} is {does}",
        ),
        weights=(32, 12, 14, 8, 16, 9, 9),
    )[0]
    return form[0].upper() + form[1:] + "."


def captions(scene: Scene, count: int, rng: random.Random) -> list[str]:
    """`count` different captions; at least one names all four attributes."""
    found: list[str] = []
    while len(found) < count:
        new = caption(scene, rng)
        if new not in found and (found or names_all(new, scene)):
            found.append(new)
    return found


def names_all(text: str, scene: Scene) -> bool:
    """Whether a caption names all four attributes of the scene."""
    text = text.lower()
    return scene.colour in text and any(place in text for place in _PLACE[scene.place])
