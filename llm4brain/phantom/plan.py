"""What is shown to whom: scenes of each film, and the runs of each subject.

Pure and cheap, because the workflow calls `runs` to know a subject's files before any job.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from llm4brain.errors import UserError
from llm4brain.phantom.grammar import Scene, every_scene
from llm4brain.sections import PhantomSettings

SHOWN_AGAIN = 0.1  # share of train scenes that some other clip of a train film repeats


class Run(NamedTuple):
    """One run of a subject: its number, the film, and the how-manieth showing it is."""

    number: int
    stim_file: str
    repeat: int


def film_name(index: int) -> str:
    """File name of the film with index 0, 1, ...

    >>> film_name(0)
    'film-01.mp4'
    """
    return f"film-{index + 1:02d}.mp4"


def _pools(
    settings: PhantomSettings, seed: int, more: int = 0
) -> tuple[list[Scene], list[Scene], list[Scene]]:
    """Scenes of train films, of test films, and `more`: three sets that share no combination."""
    if settings.test_films >= settings.films:
        raise UserError(
            "phantom.test_films", "leaves no film to train on", "lower it or raise films"
        )
    scenes = every_scene()
    random.Random(f"scenes {seed}").shuffle(scenes)
    clips = settings.clips_per_film
    train = (settings.films - settings.test_films) * clips
    fresh = max(1, round(train * (1 - SHOWN_AGAIN)))
    test = settings.test_films * clips
    if fresh + test + more > len(scenes):
        raise UserError(
            "phantom",
            f"{fresh + test + more} different scenes are wanted, the grammar has {len(scenes)}",
            "lower films, video_films or clips_per_film",
        )
    return scenes[:fresh], scenes[fresh : fresh + test], scenes[fresh + test :][:more]


def cohort_films(settings: PhantomSettings, seed: int) -> dict[str, list[Scene]]:
    """Scenes of each film that the cohort watches, in the order shown.

    The last `test_films` hold combinations that no other film has, each once. About one in ten
    scenes of the others is shown a second time, so that a contrastive loss meets duplicates.

    Raises:
        UserError: the settings want more scenes than the grammar has, or no train film.
    """
    fresh, test, _ = _pools(settings, seed)
    rng = random.Random(f"films {seed}")
    train_clips = (settings.films - settings.test_films) * settings.clips_per_film
    train = fresh + rng.sample(fresh, train_clips - len(fresh))
    rng.shuffle(train)
    shown = train + test
    return {
        film_name(i): shown[i * settings.clips_per_film : (i + 1) * settings.clips_per_film]
        for i in range(settings.films)
    }


def video_films(settings: PhantomSettings, seed: int) -> dict[str, list[Scene]]:
    """Scenes of each film that trains the small video-LLM; none is in any cohort film."""
    scenes = _pools(settings, seed, more=settings.video_films * settings.clips_per_film)[2]
    return {
        film_name(i): scenes[i * settings.clips_per_film : (i + 1) * settings.clips_per_film]
        for i in range(settings.video_films)
    }


def held_out_films(settings: PhantomSettings) -> list[str]:
    """The films of unseen combinations."""
    return [film_name(i) for i in range(settings.films - settings.test_films, settings.films)]


def runs(settings: PhantomSettings, subject: str, seed: int = 0) -> list[Run]:
    """The runs of a subject, in a random order of its own.

    Repeats are shown in rounds, as in an experiment of several days: no film comes again
    before every film has been shown that is still due.

    Args:
        settings: the phantom's section of the configuration.
        subject: label, e.g. "01".
        seed: the configuration's seed.

    Returns:
        Runs numbered from 1; `f"run-{run.number:02d}"` is the file name's part.
    """
    test = held_out_films(settings)
    rng = random.Random(f"runs {seed} {subject}")
    shown: list[tuple[str, int]] = []
    for repeat in range(1, max(settings.repeats, settings.test_repeats) + 1):
        due = [
            film_name(i)
            for i in range(settings.films)
            if repeat <= (settings.test_repeats if film_name(i) in test else settings.repeats)
        ]
        rng.shuffle(due)
        shown += [(film, repeat) for film in due]
    return [Run(i, film, repeat) for i, (film, repeat) in enumerate(shown, start=1)]
