"""Guards against leaks from a new person, and from a run that is resumed with other trials.

As in test_leaks.py, each leak is planted on purpose, and its guard must fail.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from leak_data import (
    KNOWN,
    NEW,
    SETTINGS,
    but_the_first_trials,
    made_in,
    run,
    with_other_trials,
)

from llm4brain import provenance
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import agreement
from llm4brain.align.samples import Samples
from llm4brain.align.stage import Known, StageData
from llm4brain.align.stranger import PENALTIES, Choice, Prepared, Problem
from llm4brain.align.whiten import Whitening
from llm4brain.brain import cohort
from llm4brain.checkpoint import Checkpoint
from llm4brain.io import Arrays

load = cohort.load  # the original, without a leak
WAYS = ("coupled", "functional", "unlabelled", "gated", "alone")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The study, its poisoned copy, and the models fitted on the study."""
    return made_in(tmp_path_factory.mktemp("leaks"))


# -- a new person, with no data or a few minutes


@pytest.fixture(scope="module")
def twin_of_new(made, tmp_path_factory):
    """The study, with the new person's unused trials replaced by garbage, labels included."""
    return but_the_first_trials(made[0], tmp_path_factory.mktemp("new") / "twin", KNOWN)


@pytest.fixture
def stranger_guard(made, twin_of_new, tmp_path, monkeypatch):
    """The guard: the readout of a new person does not depend on that person's unused trials."""
    study, _, models = made

    def guard(stage: str, how: str = "") -> None:
        found = []
        for name, folder in (("honest", study), ("blind", twin_of_new)):
            monkeypatch.chdir(folder)
            found.append(run(stage, folder, models, tmp_path / name, how))
        honest, blind = found
        assert [name for name in honest if honest[name] != blind[name]] == []

    return guard


@pytest.mark.parametrize("how", WAYS)
def test_nothing_but_the_first_trials_of_a_stranger_reaches_what_reads_it(stranger_guard, how):
    stranger_guard("calibrate", how)


def test_what_reads_anybody_owes_nothing_to_a_stranger(stranger_guard):
    stranger_guard("adapt")


def known_by_all_its_trials(patch):
    """All trials in the table are used, not only the first ones."""

    def leaky(table, splits, number, where):
        return table["split"].isin(("train", "validation")).to_numpy()

    patch.setattr(cohort, "_first_known", leaky)


def of_the_target(self, split):
    """Samples of the new person that must not be used, for leaks to use."""
    features, table = (
        Path(f"data/features/sub-{NEW}{end}") for end in (".safetensors", "_trials.tsv")
    )
    found = load([NEW], [features], [table], (split,))
    return Samples.of(found, self.data.targets(found, self.reader.basis), self.reader)


def penalty_chosen_on_the_target(patch):
    """The penalty is the best one for the new person's own validation films."""
    honest = Known._choose

    def leaky(self, trials, how, n_components):
        choice = honest(self, trials, how, n_components)
        asked = of_the_target(self, "validation")
        seen = choice.alpha, choice.power, choice.smooth_mm
        features = self._features_for("coupled")
        rows = features(self.train, *seen)
        mean = rows.mean(0)
        shown = features(asked, *seen) - mean
        ready = Prepared(rows - mean, rows[:0], mean, Whitening.fit(rows, 0), None)
        problem = Problem(ready, self.train, None, 1.0, "coupled")
        reached = {p: agreement(shown @ problem.weights(p), asked.targets) for p in PENALTIES}
        return replace(
            choice, penalty=max(reached, key=reached.get), agreement=max(reached.values())
        )

    patch.setattr(Known, "_choose", leaky)


def alpha_chosen_on_the_target(patch):
    """Alpha is the one that maximises the variance of the new person's validation films."""
    honest = Known._choose

    def leaky(self, trials, how, n_components):
        choice, asked = honest(self, trials, how, n_components), of_the_target(self, "validation")
        seen = choice.power, choice.smooth_mm
        features = self._features_for("coupled")
        spread = {a: features(asked, a, *seen).std() for a in (0.25, 0.5, 0.75)}
        return replace(choice, alpha=max(spread, key=spread.get), scale=float(max(spread.values())))

    patch.setattr(Known, "_choose", leaky)


def centred_on_the_target(patch):
    """Features are centred by the mean of the new person's validation films."""
    honest = Known._features_for

    def leaky(self, how):
        features = honest(self, how)
        asked = of_the_target(self, "validation")
        return lambda samples, *seen: features(samples, *seen) - features(asked, *seen).mean(0)

    patch.setattr(Known, "_features_for", leaky)


STRANGERS = [
    ("calibrate", "coupled", known_by_all_its_trials),
    ("calibrate", "functional", known_by_all_its_trials),
    ("calibrate", "unlabelled", known_by_all_its_trials),
    ("calibrate", "alone", known_by_all_its_trials),
    ("calibrate", "coupled", penalty_chosen_on_the_target),
    ("calibrate", "alone", alpha_chosen_on_the_target),
    ("adapt", "", penalty_chosen_on_the_target),
    ("adapt", "", alpha_chosen_on_the_target),
    ("adapt", "", centred_on_the_target),
]


@pytest.mark.parametrize(
    ("stage", "how", "leak"), STRANGERS, ids=[f"{s}-{h}-{f.__name__}" for s, h, f in STRANGERS]
)
def test_more_of_a_stranger_is_noticed(stranger_guard, monkeypatch, stage, how, leak):
    leak(monkeypatch)
    with pytest.raises(AssertionError):
        stranger_guard(stage, how)


def blind_to_labels(made, tmp_path, monkeypatch, how):
    """Whether the result is the same if the clips of the new person's minutes are replaced."""
    study, _, models = made
    honest, found = StageData.few, []

    def other_clips(self, reader, name, trials):
        own = honest(self, reader, name, trials)
        garbage = np.random.default_rng(3).normal(size=own.targets.shape)
        return replace(own, targets=garbage.astype(np.float32))

    for name, few in (("as they are", honest), ("others", other_clips)):
        monkeypatch.setattr(StageData, "few", few)
        found.append(run("calibrate", study, models, tmp_path / name, how))
    return found[0] == found[1]


@pytest.mark.parametrize("how", WAYS)
def test_unlabelled_minutes_are_read_without_what_was_shown_in_them(
    made, tmp_path, monkeypatch, how
):
    assert blind_to_labels(made, tmp_path, monkeypatch, how) == (how == "unlabelled")


@pytest.mark.parametrize("how", WAYS)
def test_alone_uses_nothing_of_the_others_but_the_settings(made, tmp_path, monkeypatch, how):
    study, _, models = made
    honest, found = StageData.samples, []
    fixed = Choice(0.5, 1.0, 3.0, 1.0, 0.5, 1.0, 2.0, 0.5)
    if how == "alone":
        fixed = replace(fixed, alpha=0.0, power=0.0)
    monkeypatch.setattr(Known, "_choose", lambda *_: fixed)

    def noise(self, reader):
        rng = np.random.default_rng(4)

        def of(part):
            arrays = {
                name: rng.normal(size=getattr(part, name).shape).astype(np.float32)
                for name in ("mean", "predictable", "targets")
            }
            return replace(part, **arrays)

        return tuple(map(of, honest(self, reader)))

    for name, samples in (("as they are", honest), ("noise", noise)):
        monkeypatch.setattr(StageData, "samples", samples)
        run("calibrate", study, models, tmp_path / name, how)
        arrays = Arrays(tmp_path / name / "adapt.safetensors")
        found.append((arrays[f"weights.{NEW}"], arrays[f"means.{NEW}"], arrays.meta["ways"]))
    same = all(np.array_equal(*pair) for pair in zip(found[0][:2], found[1][:2], strict=True))
    assert same == (how == "alone")
    assert found[0][2][NEW][2] == (how != "alone")  # the others' adaptor


def test_without_a_gate_a_stranger_is_read_without_one_too(made, tmp_path, monkeypatch):
    study, _, models = made
    monkeypatch.setitem(SETTINGS, "adapt", SETTINGS["adapt"] | {"methods": []})
    run("adapt", study, models, tmp_path)
    meta = Arrays(tmp_path / "adapt.safetensors").meta
    assert meta["power"] == meta["new"]["power"] == 0
    assert meta["options"]["powers"] == [0]


def test_each_way_of_calibrating_gives_the_stranger_weights_of_its_own(made, tmp_path):
    study, _, models = made
    before, own = Arrays(models / "adapt.safetensors"), {}
    for how in WAYS:
        run("calibrate", study, models, tmp_path / how, how)
        after = Arrays(tmp_path / how / "adapt.safetensors")
        own[how] = after[f"weights.{NEW}"]
        assert np.isfinite(own[how]).all()
        assert own[how].any()
        assert after.meta["ways"].keys() == {"shared", NEW}
        assert after.meta["new"]["agreement"] > 0.2  # on left-out people's films
        # the rest of the decoder is unchanged, bit for bit
        kept = [n for n in before.names if n != f"weights.{NEW}"]
        assert all(np.array_equal(before[n], after[n]) for n in kept)
        assert set(after.names) - set(before.names) == {f"weights.{NEW}", f"means.{NEW}"}
        windows = cohort.Arrays(study / f"data/features/sub-{NEW}.safetensors")["windows"]
        reader = BrainReader.load(after)
        read = reader.components(np.float32(windows[:3]), np.full(3, NEW))
        assert not np.allclose(read, reader.components(np.float32(windows[:3]), np.full(3, "99")))
    ways = itertools.combinations(WAYS, 2)
    assert not any(np.array_equal(own[a], own[b]) for a, b in ways)


# -- a resumed run


class Killed(BaseException):
    """Stands for a kill signal: nothing in the training loop catches it."""


@pytest.fixture
def resumed_guard(made, tmp_path, monkeypatch):
    """The guard: a stage interrupted and resumed with another trials table equals a fresh run."""
    study, _, models = made

    def guard(stage: str) -> None:
        other, save = with_other_trials(study, tmp_path / "study"), Checkpoint.save

        def killed(self, epoch, *more):
            save(self, epoch, *more)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", killed)
            with pytest.raises(Killed):
                run(stage, study, models, tmp_path / "out")
        assert list((tmp_path / "out").rglob("index.json"))
        again = run(stage, other, models, tmp_path / "out")
        fresh = run(stage, other, models, tmp_path / "fresh")
        assert [name for name in fresh if again[name] != fresh[name]] == []

    return guard


@pytest.mark.parametrize("stage", ["align", "adapt"])
def test_a_run_whose_trials_changed_is_not_resumed(resumed_guard, stage):
    resumed_guard(stage)


@pytest.mark.parametrize("stage", ["align", "adapt"])
def test_a_run_that_is_resumed_with_other_trials_is_noticed(resumed_guard, monkeypatch, stage):
    honest = provenance.sha256

    def leaky(path):
        """Hash only large files, "since tables are small and hardly ever change"."""
        return "" if path.suffix == ".tsv" else honest(path)

    monkeypatch.setattr(provenance, "sha256", leaky)
    with pytest.raises(AssertionError):
        resumed_guard(stage)
