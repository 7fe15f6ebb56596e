"""The guards against leaks do their work: each passes on the code, and fails on a planted leak.

A guard that never fails proves nothing. So each leak is planted here on purpose, as somebody in a
hurry would write it, and its guard must notice. Four kinds: a test stimulus among what is fitted;
a mean, scale, gate or basis that has seen test; an epoch, penalty, alpha chosen on test; reference
words that reach the decoder. The guard is the same for all: what is fitted, or read of one clip,
is equal to the byte whether the (other) test clips are what they are or garbage.
"""

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from leak_data import (
    FITTED,
    KNOWN,
    NEW,
    SUBJECTS,
    D,
    K,
    but_the_first_trials,
    run,
    with_other_trials,
    write_models,
    write_study,
)
from sklearn.preprocessing import StandardScaler

from llm4brain import provenance
from llm4brain.align.aligner import Aligner
from llm4brain.align.gate import pair_agreement
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import Basis, agreement
from llm4brain.align.samples import Samples
from llm4brain.align.stage import Known, StageData
from llm4brain.align.stranger import PENALTIES, Problem
from llm4brain.brain import cohort, pretrain
from llm4brain.checkpoint import Checkpoint
from llm4brain.evaluate import baselines, reference
from llm4brain.io import Arrays, read_table
from llm4brain.tune import samples
from llm4brain.video.videollm import VideoLLM

STAGES = (*FITTED, "calibrate", "decode", "reference")
WAYS = ("coupled", "functional", "unlabelled", "alone")
ALL = ("train", "validation", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The study, its poisoned twin, and the models fitted on the study."""
    folder = tmp_path_factory.mktemp("leaks")
    study = write_study(folder / "clean", poisoned=False)
    twin = write_study(folder / "poisoned", poisoned=True)
    return study, twin, write_models(study, folder / "models")


@pytest.fixture
def guard(made, tmp_path, monkeypatch):
    """The guard: a stage, run on the study and on its twin, gives the same bytes."""
    study, twin, models = made
    number = itertools.count()

    def guard(stage: str) -> None:
        found = []
        for folder in (study, twin):
            monkeypatch.chdir(folder)  # as the workflow does; a leak may read files from there
            found.append(run(stage, folder, models, tmp_path / f"{next(number)}"))
        honest, poisoned = found
        assert honest.keys() == poisoned.keys()
        assert [name for name in honest if honest[name] != poisoned[name]] == []

    return guard


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_of_the_test_films_reaches_a_stage(guard, stage):
    guard(stage)


# -- a stranger, of whom nothing or a few minutes are known


@pytest.fixture(scope="module")
def twin_of_new(made, tmp_path_factory):
    """The study, with garbage in place of what is not known of the stranger, labels included."""
    return but_the_first_trials(made[0], tmp_path_factory.mktemp("new") / "twin", KNOWN)


@pytest.fixture
def stranger_guard(made, twin_of_new, tmp_path, monkeypatch):
    """The guard: what reads a stranger owes nothing to trials of it that are not known."""
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
    """All that the table holds: the trials are there, why not use them."""

    def leaky(table, splits, number, where):
        return table["split"].isin(("train", "validation")).to_numpy()

    patch.setattr(cohort, "_first_known", leaky)


def of_the_target(self, split):
    """A leak's own look at films of the stranger that nobody may look at."""
    features, table = (
        Path(f"data/features/sub-{NEW}{end}") for end in (".safetensors", "_trials.tsv")
    )
    found = load([NEW], [features], [table], (split,))
    return Samples.of(found, self.data.targets(found, self.reader.basis), self.reader)


def penalty_chosen_on_the_target(patch):
    """The penalty is the one that reads the stranger's own validation films best."""
    honest = Known._choose

    def leaky(self, trials, how, n_components):
        choice = honest(self, trials, how, n_components)
        asked = of_the_target(self, "validation")
        rows = self._features(self.train, choice.alpha, choice.power)
        mean = rows.mean(0)
        shown = self._features(asked, choice.alpha, choice.power) - mean
        problem = Problem(rows - mean, rows[:0], self.train, None, 1.0, "coupled", None)
        reached = {p: agreement(shown @ problem.weights(p), asked.targets) for p in PENALTIES}
        return replace(
            choice, penalty=max(reached, key=reached.get), agreement=max(reached.values())
        )

    patch.setattr(Known, "_choose", leaky)


def alpha_chosen_on_the_target(patch):
    """Alpha is the one at which the stranger's validation films vary most."""
    honest = Known._choose

    def leaky(self, trials, how, n_components):
        choice, asked = honest(self, trials, how, n_components), of_the_target(self, "validation")
        spread = {a: self._features(asked, a, choice.power).std() for a in (0.25, 0.5, 0.75)}
        return replace(choice, alpha=max(spread, key=spread.get), scale=float(max(spread.values())))

    patch.setattr(Known, "_choose", leaky)


def centred_on_the_target(patch):
    """Features are centred by the mean of the stranger's validation films."""
    honest = Known._features

    def leaky(self, samples, alpha, power, *more):
        found = honest(self, samples, alpha, power, *more)
        asked = of_the_target(self, "validation")
        return found - honest(self, asked, alpha, power, *more).mean(0)

    patch.setattr(Known, "_features", leaky)


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
    """Whether a stranger is read alike where the clips of its minutes show something else."""
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
        assert after.meta["new"]["agreement"] > 0.2  # of people left out, on their own films
        # the rest is the finished decoder, bit for bit
        kept = [n for n in before.names if n != f"weights.{NEW}"]
        assert all(np.array_equal(before[n], after[n]) for n in kept)
        assert set(after.names) - set(before.names) == {f"weights.{NEW}", f"means.{NEW}"}
        windows = cohort.Arrays(study / f"data/features/sub-{NEW}.safetensors")["windows"]
        reader = BrainReader.load(after)
        read = reader.components(np.float32(windows[:3]), np.full(3, NEW))
        assert not np.allclose(read, reader.components(np.float32(windows[:3]), np.full(3, "99")))
    ways = itertools.combinations(WAYS, 2)
    assert not any(np.array_equal(own[a], own[b]) for a, b in ways)


# -- a run that is resumed


class Killed(BaseException):
    """What stands for a kill: nothing in the loop catches it."""


@pytest.fixture
def resumed_guard(made, tmp_path, monkeypatch):
    """The guard: killed, and begun again with another trials table, a stage owes it nothing."""
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
        """Only the large files: tables are small, and hardly ever change."""
        return "" if path.suffix == ".tsv" else honest(path)

    monkeypatch.setattr(provenance, "sha256", leaky)
    with pytest.raises(AssertionError):
        resumed_guard(stage)


# -- the leaks: functions that plant one, each for the stage whose guard must notice


load, stored = cohort.load, cohort.stored
tuning_samples, per_clip = samples.tuning_samples, reference.per_clip


def unlabelled_bold_of_every_film(patch):
    """a: "there are no labels in it, so masked modelling may have all of it"."""

    def leaky(subjects, features, trials, splits, *more):
        return stored(subjects, features, trials, ALL if "train" in splits else splits, *more)

    patch.setattr(cohort, "stored", leaky)


def everybody_s_files():
    """Features and trials of the cohort, from where the workflow keeps them."""
    names = [f"data/features/sub-{s}" for s in SUBJECTS]
    return [Path(f"{n}.safetensors") for n in names], [Path(f"{n}_trials.tsv") for n in names]


def covariance_of_every_film(patch):
    """a: the linear path is a covariance, in which no film can be told."""
    honest = pretrain.linear_path

    def leaky(_train, *more):
        return honest(stored(SUBJECTS, *everybody_s_files(), ALL), *more)

    patch.setattr(pretrain, "linear_path", leaky)


def network_of_every_film(patch):
    """a: the network alone is trained on every film; the linear path is as it should be."""
    honest = pretrain.linear_path

    def clean(_train, *more):
        return honest(stored(SUBJECTS, *everybody_s_files(), ("train",)), *more)

    unlabelled_bold_of_every_film(patch)
    patch.setattr(pretrain, "linear_path", clean)


def agreement_in_every_film(patch):
    """a: the gate needs no caption, so that it may be learned from the test films too."""
    honest = cohort.trials_of
    patch.setattr(cohort, "trials_of", lambda *files: honest(*files[:3], ALL))


def films_of_test_among_the_samples(patch):
    """a: the stage's train samples hold the test films."""

    def leaky(cls, subjects, features, trials, video, _labelled=None):
        paths = (subjects, features, trials)
        parts = [load(*paths, splits) for splits in (("train", "test"), ("validation",))]
        return cls(*parts, paths, cohort.Arrays(video), {})

    patch.setattr(StageData, "load", classmethod(leaky))


def every_captioned_clip(patch):
    """a: the LLM is warmed up on the video tokens of every clip that has a caption."""

    def leaky(adapted, reader, video, captions, split, how):
        own = tuning_samples(adapted, reader, video, captions, split, how)
        if split != "train":
            return own
        names, tokens = video.meta["clip_id"], video["video_tokens"]
        said = captions.groupby("clip_id")["caption"].agg(list)
        return samples.Samples(
            np.concatenate([own.z_f, tokens]),
            np.concatenate([own.clip, len(own.z_v) + np.arange(len(names))]),
            np.concatenate([own.z_v, tokens]),
            [*own.captions, *(said[name] for name in names)],
        )

    patch.setattr(samples, "tuning_samples", leaky)


def the_constant_that_fits_all_clips(patch):
    """a: the constant caption is the best one of the whole caption file."""
    honest = reference.constant_caption

    def leaky(_references):
        captions = read_table("data/captions/human.tsv")
        return honest(captions.groupby("clip_id")["caption"].agg(list).tolist())

    patch.setattr(reference, "constant_caption", leaky)


def scaled_before_the_split(patch):
    """b: voxels are standardised over all trials, then the split is taken."""

    def leaky(subjects, features, trials, splits, *more, **given):
        every = load(subjects, features, trials, ALL, *more, **given)
        flat = every.windows.reshape(len(every.windows), -1)
        scaled = StandardScaler().fit_transform(flat).reshape(every.windows.shape)
        return replace(every, windows=scaled).split(*splits)

    patch.setattr(cohort, "load", leaky)


def stored_ones_scaled_before_the_split(patch):
    """b: the same, of the windows that masked modelling reads from disk."""

    def leaky(subjects, features, trials, splits, *more):
        every = stored(subjects, features, trials, ALL, *more)
        flat = every.read(every.places).reshape(len(every), -1)
        scaler = StandardScaler().fit(flat)

        class Scaled(type(every)):
            def read(self, places):
                windows = super().read(places)
                scaled = scaler.transform(windows.reshape(len(windows), -1))
                return scaled.reshape(windows.shape).astype(np.float32)

        return Scaled(**vars(stored(subjects, features, trials, splits, *more)))

    patch.setattr(cohort, "stored", leaky)


def components_of_every_clip(patch):
    """b: the basis of the video tokens is fitted on all clips there are."""

    def leaky(self, rank):
        tokens = self.video["video_tokens"]
        return Basis.fit(tokens.reshape(len(tokens), -1), rank)

    patch.setattr(StageData, "basis", leaky)


def components_weighed_by_every_clip(patch):
    """b: what components weigh is scaled by how they vary over all clips."""
    honest = Aligner.weigh_components

    def leaky(self, held_out):
        honest(self, held_out)
        tokens = Arrays(Path("data/features/video.safetensors"))["video_tokens"]
        basis = self.reader.basis
        spread = basis.read(tokens.reshape(len(tokens), -1)).std(0).astype(np.float32)
        self.reader.basis = replace(basis, weights=basis.weights * spread)

    patch.setattr(Aligner, "weigh_components", leaky)


def mean_of_every_window(patch):
    """b: features are centred by a mean that the test windows are part of."""
    honest = Aligner.features

    def leaky(self):
        parts = honest(self)
        paths = everybody_s_files()[0]
        every = np.concatenate([Arrays(path)["windows"] for path in paths], dtype=np.float32)
        mean = self.reader.all_features(*self.reader.frozen(every)).mean(0)
        shift = mean - self.reader.mean.numpy()
        self.reader.mean = torch.from_numpy(mean)
        return tuple(part - shift for part in parts)

    patch.setattr(Aligner, "features", leaky)


def centred_by_what_is_read_together(patch):
    """b: what is decoded together is centred together."""
    honest = BrainReader.all_features

    def leaky(self, *given):
        found = honest(self, *given)
        return found - found.mean(0) + self.mean.numpy()

    patch.setattr(BrainReader, "all_features", leaky)


def ridge_scaled_before_the_split(patch):
    """b: the baseline's windows are standardised over all clips."""

    def leaky(windows, trials, repeats):
        averaged, table = per_clip(windows, trials, repeats)
        flat = averaged.reshape(len(averaged), -1)
        return StandardScaler().fit_transform(flat).reshape(averaged.shape), table

    patch.setattr(reference, "per_clip", leaky)


def ridge_scaled_by_what_it_reads(patch):
    """b: the scaler is fitted anew on the windows that are read."""

    def leaky(self, windows):
        scaled = StandardScaler().fit_transform(baselines._flat(windows))
        scaled = scaled if self.gate is None else scaled * self.gate
        return scaled @ self.train.T @ self.dual + self.centre

    patch.setattr(baselines.Ridge, "read", leaky)


def gate_of_every_film(patch):
    """b: the baseline's gate is learned from the subject's responses to all films."""
    honest = reference.best_ridges

    def leaky(train, train_tokens, validation, validation_tokens, _agreement):
        volumes = np.float32(cohort.Arrays("data/features/sub-01.safetensors")["windows"]).mean(1)
        trials = read_table("data/features/sub-01_trials.tsv")
        showings, moments = (trials[key].to_numpy() for key in ("repeat", "clip_id"))
        agreement = pair_agreement(volumes, showings, moments).clip(0).astype(np.float32)
        return honest(train, train_tokens, validation, validation_tokens, agreement)

    patch.setattr(reference, "best_ridges", leaky)


def predicted_less_the_mean_of_what_is_read(patch):
    """b: the predictable part is centred anew on the windows that are read."""
    honest = BrainReader.frozen

    def leaky(self, windows, *more, **given):
        mean, predictable = honest(self, windows, *more, **given)
        return mean, predictable - predictable.mean(0)

    patch.setattr(BrainReader, "frozen", leaky)


def validated_on_test(patch):
    """c: epoch, coupling, penalty and alpha are those that do best on the test films."""

    def leaky(honest, subjects, features, trials, splits, *more, **given):
        splits = ("test",) if splits == ("validation",) else splits
        return honest(subjects, features, trials, splits, *more, **given)

    patch.setattr(cohort, "load", partial(leaky, load))
    patch.setattr(cohort, "stored", partial(leaky, stored))


def tuned_by_the_test_loss(patch):
    """c: the epoch of LoRA is the one that fits the captions of the test clips best."""

    def leaky(adapted, reader, video, captions, split, how):
        own = tuning_samples(adapted, reader, video, captions, split, how)
        if split == "train":
            return own
        table = read_table("data/clips.tsv")
        names = list(table.loc[table["split"] == "test", "clip_id"])
        tokens = video["video_tokens"][cohort.rows_of(video.meta["clip_id"], names)]
        said = captions.groupby("clip_id")["caption"].agg(list)
        return samples.Samples(tokens, np.arange(len(names)), tokens, [said[n] for n in names])

    patch.setattr(samples, "tuning_samples", leaky)


def penalty_chosen_on_test(patch):
    """c: the test clips help to choose the ridge's penalty."""

    def leaky(windows, trials, repeats):
        averaged, table = per_clip(windows, trials, repeats)
        again = table[table["split"] == "test"]
        held = again.assign(split="validation")
        return (
            np.concatenate([averaged, averaged[again.index]]),
            pd.concat([table, held], ignore_index=True),
        )

    patch.setattr(reference, "per_clip", leaky)


def reference_words() -> list[str]:
    """The references of the test clips, in order, from where the workflow keeps them."""
    table = read_table("data/clips.tsv")
    said = read_table("data/captions/human.tsv").set_index("clip_id")["caption"]
    return [said[name] for name in table.loc[table["split"] == "test", "clip_id"]]


def teacher_forced(patch):
    """d: the text is the likeliest next token after each token of the reference."""

    def leaky(self, prefix, max_new_tokens=32, batch=256):
        said = list(itertools.islice(itertools.cycle(reference_words()), len(prefix)))
        with torch.no_grad():
            logits, _ = self.answer(prefix, said)
        _, mask = self.answer_ids(said)
        parts = logits.argmax(-1).split(mask.sum(1).tolist())
        return self.tokenizer.batch_decode(parts, skip_special_tokens=True)

    patch.setattr(VideoLLM, "generate", leaky)


def begun_with_the_reference(patch):
    """d: generation is free-running, from the reference's first word on."""
    honest = VideoLLM.generate

    def leaky(self, prefix, max_new_tokens=32, batch=256):
        said = itertools.islice(itertools.cycle(reference_words()), len(prefix))
        first = self.tokenizer([s.split()[0] for s in said], add_special_tokens=False)
        words = self.embeddings(torch.tensor([ids[:1] for ids in first["input_ids"]]))
        begun = torch.cat([prefix, words], dim=1)
        return honest(self, begun, max_new_tokens, batch)

    patch.setattr(VideoLLM, "generate", leaky)


LEAKS = [
    ("pretrain", unlabelled_bold_of_every_film),
    ("pretrain", covariance_of_every_film),
    ("pretrain", network_of_every_film),
    ("adapt", agreement_in_every_film),
    ("calibrate", agreement_in_every_film),
    ("calibrate", films_of_test_among_the_samples),
    ("calibrate", validated_on_test),
    ("align", components_weighed_by_every_clip),
    ("align", films_of_test_among_the_samples),
    ("adapt", films_of_test_among_the_samples),
    ("tune", every_captioned_clip),
    ("reference", the_constant_that_fits_all_clips),
    ("pretrain", stored_ones_scaled_before_the_split),
    ("align", scaled_before_the_split),
    ("align", components_of_every_clip),
    ("align", mean_of_every_window),
    ("decode", centred_by_what_is_read_together),
    ("decode", scaled_before_the_split),
    ("reference", ridge_scaled_before_the_split),
    ("reference", ridge_scaled_by_what_it_reads),
    ("pretrain", validated_on_test),
    ("align", validated_on_test),
    ("adapt", validated_on_test),
    ("tune", tuned_by_the_test_loss),
    ("reference", penalty_chosen_on_test),
    ("reference", gate_of_every_film),
    ("reference", predicted_less_the_mean_of_what_is_read),
    ("reference", teacher_forced),
    ("reference", begun_with_the_reference),
    ("decode", teacher_forced),
    ("decode", begun_with_the_reference),
]


@pytest.mark.parametrize(("stage", "leak"), LEAKS, ids=[f"{s}-{f.__name__}" for s, f in LEAKS])
def test_a_planted_leak_is_noticed(guard, monkeypatch, stage, leak):
    leak(monkeypatch)
    with pytest.raises(AssertionError):
        guard(stage)


def test_ridge_llm_says_what_the_untuned_llm_says_of_ridges_reading(made, tmp_path):
    study, _, models = made
    run("reference", study, models, tmp_path)
    arrays, said = Arrays(tmp_path / "readings.safetensors"), read_table(tmp_path / "decoded.tsv")
    reading = torch.from_numpy(arrays["ridge"]).view(-1, K, D)
    llm = VideoLLM.load(models / "video_llm")
    own = said[said["system"] == "ridge_llm"].set_index("clip_id")["text"].fillna("")
    assert own[arrays.meta["clip_id"]].tolist() == llm.generate(reading, 8)
    assert own.nunique() > 1
