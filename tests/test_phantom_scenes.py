"""Scenes, captions, what is shown to whom, and films."""

import hashlib
import random
import re
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from llm4brain.errors import UserError
from llm4brain.phantom import grammar, plan
from llm4brain.phantom.films import read_luminance, scene_film
from llm4brain.phantom.grammar import ATTRIBUTES, Scene, captions, every_scene
from llm4brain.phantom.render import Look, frame
from llm4brain.sections import PhantomSettings

DEFAULT = PhantomSettings()
SCENES = st.builds(Scene, *(st.sampled_from(values) for values in ATTRIBUTES.values()))


def test_the_grammar_has_2592_scenes():
    assert len(set(every_scene())) == 2592


@hypothesis_settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_films_share_only_what_they_may(seed):
    cohort = plan.cohort_films(DEFAULT, seed)
    held_out = plan.held_out_films(DEFAULT)
    train = list(chain.from_iterable(s for f, s in cohort.items() if f not in held_out))
    test = list(chain.from_iterable(cohort[f] for f in held_out))
    video = list(chain.from_iterable(plan.video_films(DEFAULT, seed).values()))

    assert len(test) == len(set(test)) == 120
    assert not set(test) & set(train)
    assert not set(video) & (set(train) | set(test))
    assert len(set(train)) < len(train) == 600, "some train scenes are shown twice"
    for k, values in enumerate(ATTRIBUTES.values()):
        assert {scene[k] for scene in train} == set(values)
        assert {scene[k] for scene in video} == set(values)


@hypothesis_settings(max_examples=20, deadline=None)
@given(
    films=st.integers(2, 6),
    repeats=st.integers(1, 3),
    test_repeats=st.integers(1, 4),
    subject=st.from_regex(r"[0-9]{2}", fullmatch=True),
)
def test_runs_show_each_film_as_often_as_wanted(films, repeats, test_repeats, subject):
    wanted = PhantomSettings(films=films, test_films=1, repeats=repeats, test_repeats=test_repeats)
    shown = plan.runs(wanted, subject, seed=3)
    assert shown == plan.runs(wanted, subject, seed=3)
    assert [run.number for run in shown] == list(range(1, len(shown) + 1))
    for k in range(films):
        seen = [run.repeat for run in shown if run.stim_file == plan.film_name(k)]
        assert seen == list(range(1, (test_repeats if k == films - 1 else repeats) + 1))


def test_subjects_see_films_in_orders_of_their_own():
    orders = {tuple(r.stim_file for r in plan.runs(DEFAULT, s, 0)) for s in ("01", "02", "03")}
    assert len(orders) == 3


@pytest.mark.parametrize(
    "wrong", [{"video_films": 60}, {"films": 2, "test_films": 2}], ids=["too many", "no train film"]
)
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(UserError, match="phantom"):
        plan.video_films(PhantomSettings(**wrong), 0)


def _mentioned(text, wordings):
    """Values of an attribute that a caption names, by the longest wording at each place."""
    pattern = {w: v for v, words in wordings.items() for w in words}
    found = re.findall(r"\b(?:" + "|".join(sorted(pattern, key=len, reverse=True)) + r")\b", text)
    return {pattern[w] for w in found}


@hypothesis_settings(max_examples=100, deadline=None)
@given(scene=SCENES, seed=st.integers(0, 1000))
def test_captions_differ_and_are_true(scene, seed):
    said = captions(scene, 4, random.Random(seed))
    assert len(set(said)) == 4
    assert said == captions(scene, 4, random.Random(seed))
    assert any(grammar.names_all(text, scene) for text in said)
    for text in map(str.lower, said):
        assert _mentioned(text, grammar._WHO) == {scene.who}
        assert _mentioned(text, grammar._ACTION) == {scene.action}
        assert _mentioned(text, grammar._PLACE) <= {scene.place}
        assert {c for c in grammar.COLOUR if re.search(rf"\b{c}\b", text)} <= {scene.colour}


def test_every_value_changes_the_picture():
    """At the 64 x 64 that the small video model sees, no two values of an attribute look alike."""
    look = Look.draw(random.Random(0))
    base = Scene("girl", "run", "beach", "red")
    for name, values in ATTRIBUTES.items():
        seen = [
            np.asarray(frame(base._replace(**{name: v}), look, 1.0, 64), np.float32) for v in values
        ]
        for i, one in enumerate(seen):
            for other in seen[:i]:
                changed = (np.abs(one - other).max(axis=-1) > 40).mean()
                assert changed > 0.02, f"{name}: two values differ in {changed:.1%} of the frame"


def test_every_action_moves():
    look = Look.draw(random.Random(1))
    for action in grammar.ACTION:
        scene = Scene("cat", action, "beach", "blue")
        first, later = (np.asarray(frame(scene, look, t, 64), np.int16) for t in (0.0, 1.0))
        assert (np.abs(first - later).max(axis=-1) > 40).mean() > 0.002, action


def test_films_are_the_same_bytes_and_play(tmp_path):
    scenes = [Scene("cat", "run", "moon", "blue"), Scene("girl", "read", "beach", "red")]
    digests = set()
    for name in ("a.mp4", "b.mp4"):
        scene_film(tmp_path / name, scenes, 2.0, 5.0, 64, "seed")
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    luminance, rate = read_luminance(tmp_path / "a.mp4", 3)
    assert luminance.shape == (20, 3, 3)
    assert rate == 5
    assert luminance[:10].mean() < luminance[10:].mean(), "the moon is darker than the beach"


def test_a_missing_film_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4: is not a film"):
        read_luminance(tmp_path / "none.mp4", 3)
