"""Scenes of each film, and the runs of each subject.

These functions are fast and read no files, because the workflow calls `runs` to list a subject's
files before any job starts.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from llm4brain.errors import UserError
from llm4brain.phantom.grammar import Scene, every_scene
from llm4brain.sections import PhantomSettings

SHOWN_AGAIN = 0.1  # fraction of train scenes that another clip of a train film repeats


class Run(NamedTuple):
    """One run of a subject: its number, the film, and the index of the showing."""

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
    """Scenes of train films, test films, and `more` others: three sets without common scenes."""
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

    The last `test_films` contain combinations that occur in no other film, each once. About one in
    ten scenes of the others is shown a second time, so that a contrastive loss has duplicates.

    Raises:
        UserError: the settings need more scenes than the grammar has, or leave no train film.
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
    """Scenes of the films that train the small video-LLM; none occurs in a cohort film."""
    scenes = _pools(settings, seed, more=settings.video_films * settings.clips_per_film)[2]
    return {
        film_name(i): scenes[i * settings.clips_per_film : (i + 1) * settings.clips_per_film]
        for i in range(settings.video_films)
    }


def held_out_films(settings: PhantomSettings) -> list[str]:
    """The test films, which contain unseen combinations."""
    return [film_name(i) for i in range(settings.films - settings.test_films, settings.films)]


def runs(settings: PhantomSettings, subject: str, seed: int = 0) -> list[Run]:
    """The runs of a subject, in a random order that differs between subjects.

    Repeats are shown in rounds, as in an experiment over several days: a film is repeated only
    after all films of the round have been shown.

    Args:
        settings: the phantom's section of the configuration.
        subject: label, e.g. "01".
        seed: the configuration's seed.

    Returns:
        Runs numbered from 1; file names contain `f"run-{run.number:02d}"`.
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
