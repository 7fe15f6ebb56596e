"""One simulated subject: runs of BOLD made from signal, noise and nuisances."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm4brain.phantom import haemodynamics as haemo
from llm4brain.phantom import noise
from llm4brain.phantom.anatomy import Head, head_on_grid, template
from llm4brain.phantom.grammar import ATTRIBUTES, Scene
from llm4brain.phantom.tuning import Tuning, subject_tuning
from llm4brain.sections import PhantomSettings

FilmSignals = np.ndarray  # (time, features): attribute values, then low-level features


def chance(seed: int, *what: str | int) -> np.random.Generator:
    """A separate random generator for each purpose, so that they do not affect each other.

    >>> bool(chance(0, "a").random() == chance(0, "a").random() != chance(0, "b").random())
    True
    """
    return np.random.default_rng([seed, *(zlib.crc32(str(w).encode()) for w in what)])


def film_signals(
    scenes: Sequence[Scene], luminance: np.ndarray, rate: float, clip_seconds: float
) -> FilmSignals:
    """Features of a film that drive the brain, (time, features), in `tuning.FEATURES` order."""
    seen = haemo.scene_signals(scenes, clip_seconds)
    low = haemo.lowlevel_signals(luminance, rate, len(seen) * haemo.STEP)
    return np.hstack([seen, low])


@dataclass(frozen=True)
class Subject:
    """All fixed properties of one subject.

    Attributes:
        head: anatomy on the scanner grid.
        tuning: planted tuning on the MNI grid.
        hrf_peak: s.
        weights: float32 (features, brain voxels): response to each feature, relative to baseline.
        responses: stim_file -> float32 (volumes, features).
        snr: realised, over tuned voxels, by attribute.
    """

    head: Head
    tuning: Tuning
    hrf_peak: float
    weights: np.ndarray
    responses: Mapping[str, np.ndarray]
    snr: dict[str, float]


def volumes_of(settings: PhantomSettings, clips: int) -> int:
    """Volumes of a run: lead-in, film, lead-out."""
    seconds = settings.lead_in + clips * settings.clip_seconds + settings.lead_out
    return int(np.ceil(seconds / settings.tr))


def make_subject(
    settings: PhantomSettings, subject: str, seed: int, films: Mapping[str, FilmSignals]
) -> Subject:
    """Draw a subject.

    The signal is scaled so that var(signal) / var(noise), over the films and the voxels tuned to an
    attribute, is `settings.snr` for a subject with gain 1.

    Args:
        settings: the phantom's section of the configuration.
        subject: label.
        seed: the configuration's seed.
        films: stim_file -> features of what is shown.
    """
    head = head_on_grid(settings.voxel_mm, chance(seed, subject, "head"))
    tuning = subject_tuning(chance(seed, "cohort"), chance(seed, subject, "tuning"))
    peak = haemo.PEAK + haemo.PEAK_SPREAD * chance(seed, subject, "hrf").uniform(-1, 1)
    volumes = volumes_of(settings, settings.clips_per_film)
    answers = {
        name: haemo.responses(signals, peak, settings.lead_in, volumes, settings.tr)
        for name, signals in films.items()
    }
    settled = int(np.ceil((settings.lead_in + 12) / settings.tr))  # after the initial rise
    ends = int((settings.lead_in + settings.clips_per_film * settings.clip_seconds) / settings.tr)
    shown = np.concatenate([a[min(settled, ends // 2) : ends] for a in answers.values()])

    mm = head.mm[head.brain]
    weights, realised, first = [], {}, 0
    for name, maps in tuning.maps.items():
        own = np.stack([template().sample(m, mm) for m in maps])  # (values, voxels)
        tuned = np.abs(own).max(axis=0) > 0.2
        signal = shown[:, first : first + len(own)] @ own[:, tuned]
        scale = np.sqrt(settings.snr / signal.var(axis=0).mean()) if tuned.any() else 0.0
        own = own * np.float32(scale * noise.NOISE * tuning.gain)
        weights.append(own)
        realised[name] = settings.snr * tuning.gain**2
        first += len(own)
    return Subject(head, tuning, peak, np.concatenate(weights), answers, realised)


def make_run(
    subject: Subject, settings: PhantomSettings, stim_file: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate one run.

    Returns:
        int16 (x, y, z, volumes), scanner units; float32 (volumes, 6), head motion (mm, radians).
    """
    head, size = subject.head, settings.voxel_mm
    answer = subject.responses[stim_file]
    volumes = len(answer)
    moved = noise.motion(volumes, rng)
    share = answer @ subject.weights
    share += noise.NOISE * noise.scan_noise(volumes, head, size, rng)
    share += noise.drift(volumes, head, size, rng)
    share += noise.physiology(volumes, settings.tr, head, rng)
    inside = head.baseline[head.brain] * (1 + share) + moved @ noise.motion_effect(head, size)
    air = rng.standard_normal((volumes, *head.shape), dtype=np.float32) * noise.BACKGROUND
    air += head.baseline
    air[:, head.brain] = inside
    scan = np.abs(air).round().clip(0, np.iinfo(np.int16).max).astype(np.int16)
    return np.moveaxis(scan, 0, -1), moved


def attribute_columns() -> dict[str, slice]:
    """Feature columns of each attribute."""
    columns, first = {}, 0
    for name, values in ATTRIBUTES.items():
        columns[name] = slice(first, first + len(values))
        first += len(values)
    return columns
