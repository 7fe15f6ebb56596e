"""What was planted can be found again: regions, lag, SNR, noise, motion."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from llm4brain.phantom import haemodynamics as haemo
from llm4brain.phantom import noise
from llm4brain.phantom.anatomy import head_on_grid, template
from llm4brain.phantom.grammar import ATTRIBUTES
from llm4brain.phantom.plan import cohort_films
from llm4brain.phantom.simulate import (
    attribute_columns,
    chance,
    film_signals,
    make_run,
    make_subject,
)
from llm4brain.sections import PhantomSettings

CLEAR = PhantomSettings(films=5, test_films=1, clips_per_film=50, video_films=1, snr=3)
TEST = "film-05.mp4"


def _films(settings):
    """What is on the screen; low-level features at random, for no film is rendered here."""
    rng = chance(0, "luminance")
    length = settings.clips_per_film * settings.clip_seconds
    return {
        name: film_signals(scenes, rng.random((int(5 * length), 3, 3)), 5.0, settings.clip_seconds)
        for name, scenes in cohort_films(settings, 0).items()
    }


def _cleaned(scan, moved, head):
    """(volumes, brain voxels): motion and slow drift regressed out, z-scored."""
    series = scan[head.brain].T.astype(np.float64)
    time = np.arange(len(series)) + 0.5
    slow = [np.cos(np.pi * k * time / len(series)) for k in range(5)]
    nuisance = np.linalg.qr(np.column_stack([*slow, moved]))[0]
    series -= nuisance @ (nuisance.T @ series)
    return series / series.std(axis=0)


def _simulate(settings):
    subject = make_subject(settings, "01", 0, _films(settings))
    runs = {}
    for name in subject.responses:
        scan, moved = make_run(subject, settings, name, chance(0, "run", name))
        runs[name] = _cleaned(scan, moved, subject.head)
    return subject, runs


@pytest.fixture(scope="module")
def clear():
    return _simulate(CLEAR)


def _one_hot(settings, name):
    codes = np.array([scene.codes for scene in cohort_films(settings, 0)[name]])
    return np.hstack([np.eye(len(v))[codes[:, k]] for k, v in enumerate(ATTRIBUTES.values())])


def _accuracy(settings, runs, lag):
    """Mean attribute accuracy on the test film: ridge from the one volume at `lag` (s)."""
    inputs, outputs = {}, {}
    for name, series in runs.items():
        onset = settings.lead_in + np.arange(settings.clips_per_film) * settings.clip_seconds
        volume = np.round((onset + lag) / settings.tr).astype(int)
        kept = (volume >= 0) & (volume < len(series))
        inputs[name], outputs[name] = series[volume[kept]], _one_hot(settings, name)[kept]
    x = np.concatenate([v for k, v in inputs.items() if k != TEST])
    y = np.concatenate([v for k, v in outputs.items() if k != TEST])
    kernel = x @ x.T
    dual = np.linalg.solve(kernel + 0.3 * np.trace(kernel) / len(x) * np.eye(len(x)), y - y.mean(0))
    read = inputs[TEST] @ x.T @ dual + y.mean(0)
    right = [
        read[:, at].argmax(axis=1) == outputs[TEST][:, at].argmax(axis=1)
        for at in attribute_columns().values()
    ]
    return float(np.mean(right))


def test_a_linear_model_finds_the_planted_regions(clear):
    subject, runs = clear
    peak = haemo.PEAK  # the reader does not know the subject's own
    volumes = len(next(iter(runs.values())))
    films = _films(CLEAR)
    design = np.concatenate(
        [haemo.responses(films[n], peak, CLEAR.lead_in, volumes, CLEAR.tr) for n in runs]
    )
    series = np.concatenate(list(runs.values()))
    fitted = np.linalg.lstsq(np.column_stack([design, np.ones(len(design))]), series, rcond=None)[0]
    first = 0
    for name, values in ATTRIBUTES.items():
        own = slice(first, first + len(values))
        first += len(values)
        found = fitted[own].var(axis=0)
        planted = np.abs(subject.weights[own]).max(axis=0)
        planted = planted > 0.25 * planted.max()
        best = np.argsort(found)[::-1][: planted.sum()]
        overlap, by_chance = planted[best].mean(), planted.mean()
        assert by_chance < 0.1
        assert overlap > 0.5, f"{name}: {overlap:.2f} of the best voxels were planted"


def test_the_best_lag_is_the_planted_one(clear):
    subject, runs = clear
    lags = np.arange(-20, 21, 2)
    score = np.array([_accuracy(CLEAR, runs, lag) for lag in lags])
    planted = haemo.best_lag(subject.hrf_peak, CLEAR.clip_seconds)
    assert abs(lags[score.argmax()] - planted) <= CLEAR.tr
    assert score.max() > 0.4
    far = score[(lags < -3) | (lags > 19)]
    assert far.max() < 0.27, "chance is 0.15 of 200 draws"


def test_without_signal_the_film_leaves_no_trace():
    silent = CLEAR.model_copy(update={"snr": 0.0})
    subject, runs = _simulate(silent)
    assert not subject.weights.any()
    one, other = (
        make_run(subject, silent, name, chance(0, "same"))[0]
        for name in ("film-01.mp4", "film-02.mp4")
    )
    np.testing.assert_array_equal(one, other)
    assert _accuracy(silent, runs, 7) < 0.25, "chance is 0.15 of 200 draws"


def test_the_snr_is_what_was_asked_for(clear):
    subject, _ = clear
    settled, end = 10, int((CLEAR.lead_in + CLEAR.clips_per_film * CLEAR.clip_seconds) / CLEAR.tr)
    shown = np.concatenate([a[settled:end] for a in subject.responses.values()])
    for name, at in attribute_columns().items():
        maps = subject.tuning.maps[name]
        mm = subject.head.mm[subject.head.brain]
        strength = np.stack([template().sample(m, mm) for m in maps])
        tuned = np.abs(strength).max(axis=0) > 0.2
        signal = (shown[:, at] @ subject.weights[at][:, tuned]).var(axis=0).mean()
        expected = CLEAR.snr * subject.tuning.gain**2
        assert signal / noise.NOISE**2 == pytest.approx(expected, rel=0.02), name


def test_subjects_share_topography_in_part():
    """Neighbouring brains resemble each other more than chance, and less than themselves."""
    films = _films(CLEAR)
    one, two = (make_subject(CLEAR, label, 0, films) for label in ("01", "02"))
    assert one.hrf_peak != two.hrf_peak
    assert abs(one.hrf_peak - haemo.PEAK) <= haemo.PEAK_SPREAD
    both = (one.tuning.regions > 0) & (one.tuning.regions == two.tuning.regions)
    assert both.sum() > 0.3 * (one.tuning.regions > 0).sum()
    likeness = []
    for name in ATTRIBUTES:
        pair = [s.tuning.maps[name] for s in (one, two)]
        inside = (pair[0].any(axis=0)) & (pair[1].any(axis=0))
        flat = [(p[:, inside] - p[:, inside].mean(axis=0)).ravel() for p in pair]
        likeness.append(np.corrcoef(*flat)[0, 1])
    assert 0.15 < np.mean(likeness) < 0.8


def test_noise_is_as_scans_have_it():
    rng = chance(0, "noise")
    head = head_on_grid(8.0, chance(0, "head"))
    series = noise.scan_noise(400, head, 8.0, rng)
    assert series.var() == pytest.approx(1, rel=0.05)
    lagged = (series[1:] * series[:-1]).mean() / series.var()
    assert lagged == pytest.approx(noise.AR, abs=0.03)
    index = np.argwhere(head.brain)
    place = {tuple(i): k for k, i in enumerate(index)}
    pairs = [(k, place[x + 1, y, z]) for (x, y, z), k in place.items() if (x + 1, y, z) in place]
    here, there = np.array(pairs).T
    near = (series[:, here] * series[:, there]).mean()
    far = (series[:, here[:500]] * series[:, there[-500:]]).mean()
    assert 0.4 < near < 0.65  # 0.3 x 0.89 + 0.2 x 0.99 + 0.1
    assert 0.0 < far < 0.2  # the global tenth


def test_motion_does_what_moving_the_head_would():
    head = head_on_grid(8.0, chance(0, "head"))
    effect = noise.motion_effect(head, 8.0)
    assert np.linalg.matrix_rank(effect) == 6
    inverse = np.linalg.inv(head.affine)
    centre = head.mm[head.brain].mean(axis=0)
    step = 0.5
    for k in range(6):
        shift = np.zeros(3)
        where = head.mm
        if k < 3:
            shift[k] = step
            where = where - shift
        else:
            axis = np.eye(3)[k - 3] * np.radians(step)
            where = where - np.cross(axis, where - centre)
        index = np.moveaxis(where @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
        moved = map_coordinates(head.baseline, index, order=3)[head.brain]
        expected = (step if k < 3 else np.radians(step)) * effect[k]
        likeness = np.corrcoef(moved - head.baseline[head.brain], expected)[0, 1]
        assert likeness > 0.85, f"parameter {k}: {likeness:.2f}"


@pytest.mark.parametrize("peak", [4.5, 5.0, 5.5])
def test_the_response_peaks_where_it_should(peak):
    response = haemo.hrf(peak)
    assert np.argmax(response) * haemo.STEP == pytest.approx(peak, abs=0.11)
    assert response.sum() * haemo.STEP == pytest.approx(1)
    assert haemo.best_lag(peak, 4.0) == pytest.approx(peak + 2, abs=0.4)
