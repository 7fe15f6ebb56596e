"""Guards against leaks, each tested on the code as it is and on a leak planted on purpose.

A guard that never fails proves nothing, so each leak is planted here as it might be written by
mistake, and its guard must fail. There are four kinds of leaks: (a) a test stimulus in the training
data; (b) a mean, scale, gate or basis computed with test data; (c) an epoch, penalty or alpha
chosen on test data; (d) reference words that reach the decoder. All guards work alike: the fitted
model, or the prediction for one clip, must be identical to the byte when the (other) test clips are
replaced by garbage.
"""

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from leak_data import (
    FITTED,
    SUBJECTS,
    begun_with_the_reference,
    made_in,
    run,
    teacher_forced,
)
from sklearn.preprocessing import StandardScaler

from llm4brain.align.aligner import Aligner
from llm4brain.align.basis import Basis
from llm4brain.align.gate import pair_agreement
from llm4brain.align.reader import BrainReader
from llm4brain.align.stage import StageData
from llm4brain.brain import cohort, pretrain
from llm4brain.evaluate import reference, ridge
from llm4brain.io import Arrays, read_table
from llm4brain.tune import samples

STAGES = (*FITTED, "calibrate", "decode", "reference")
ALL = ("train", "validation", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The study, its poisoned copy, and the models fitted on the study."""
    return made_in(tmp_path_factory.mktemp("leaks"))


@pytest.fixture
def guard(made, tmp_path, monkeypatch):
    """The guard: a stage gives the same bytes on the study and on its poisoned copy."""
    study, twin, models = made
    number = itertools.count()

    def guard(stage: str) -> None:
        found = []
        for folder in (study, twin):
            monkeypatch.chdir(folder)  # as in the workflow; a leak may read files from there
            found.append(run(stage, folder, models, tmp_path / f"{next(number)}"))
        honest, poisoned = found
        assert honest.keys() == poisoned.keys()
        assert [name for name in honest if honest[name] != poisoned[name]] == []

    return guard


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_of_the_test_films_reaches_a_stage(guard, stage):
    guard(stage)


# -- functions that plant a leak, each for the stage whose guard must detect it


load, stored = cohort.load, cohort.stored
tuning_samples, per_clip = samples.tuning_samples, reference.per_clip


def unlabelled_bold_of_every_film(patch):
    """a: masked modelling uses all BOLD, "since it has no labels"."""

    def leaky(subjects, features, trials, splits, *more):
        return stored(subjects, features, trials, ALL if "train" in splits else splits, *more)

    patch.setattr(cohort, "stored", leaky)


def everybody_s_files():
    """Features and trials of all subjects, from the workflow's files."""
    names = [f"data/features/sub-{s}" for s in SUBJECTS]
    return [Path(f"{n}.safetensors") for n in names], [Path(f"{n}_trials.tsv") for n in names]


def covariance_of_every_film(patch):
    """a: the linear path is fitted to all films, "since a covariance does not identify a film"."""
    honest = pretrain.linear_path

    def leaky(_train, *more):
        return honest(stored(SUBJECTS, *everybody_s_files(), ALL), *more)

    patch.setattr(pretrain, "linear_path", leaky)


def network_of_every_film(patch):
    """a: only the network is trained on every film; the linear path is correct."""
    honest = pretrain.linear_path

    def clean(_train, *more):
        return honest(stored(SUBJECTS, *everybody_s_files(), ("train",)), *more)

    unlabelled_bold_of_every_film(patch)
    patch.setattr(pretrain, "linear_path", clean)


def agreement_in_every_film(patch):
    """a: the gate is fitted to the test films too, "since it needs no captions"."""
    honest = cohort.trials_of
    patch.setattr(cohort, "trials_of", lambda *files: honest(*files[:3], ALL))


def films_of_test_among_the_samples(patch):
    """a: the stage's train samples include the test films."""

    def leaky(cls, subjects, features, trials, video, _labelled=None):
        paths = (subjects, features, trials)
        parts = [load(*paths, splits) for splits in (("train", "test"), ("validation",))]
        return cls(*parts, paths, cohort.Arrays(video), {})

    patch.setattr(StageData, "load", classmethod(leaky))


def every_captioned_clip(patch):
    """a: the LLM is also tuned on the video tokens of every clip that has a caption."""

    def leaky(adapted, reader, video, captions, split, how):
        own = tuning_samples(adapted, reader, video, captions, split, how)
        if split != "train":
            return own
        names, tokens = video.meta["clip_id"], video["video_tokens"]
        said = captions.groupby("clip_id")["caption"].agg(list)
        return samples.Samples(
            np.concatenate([own.write(own.components), tokens]),
            np.concatenate([own.clip, len(own.place) + np.arange(len(names))]),
            np.concatenate([own.place, np.arange(len(names))]),
            [*own.captions, *(said[name] for name in names)],
            lambda rows: rows,
            tokens,
        )

    patch.setattr(samples, "tuning_samples", leaky)


def the_constant_that_fits_all_clips(patch):
    """a: the constant caption is the best one for the whole caption file."""
    honest = reference.constant_caption

    def leaky(_references):
        captions = read_table("data/captions/human.tsv")
        return honest(captions.groupby("clip_id")["caption"].agg(list).tolist())

    patch.setattr(reference, "constant_caption", leaky)


def scaled_before_the_split(patch):
    """b: voxels are standardised over all trials before the split."""

    def leaky(subjects, features, trials, splits, *more, **given):
        every = load(subjects, features, trials, ALL, *more, **given)
        flat = every.windows.reshape(len(every.windows), -1)
        scaled = StandardScaler().fit_transform(flat).reshape(every.windows.shape)
        return replace(every, windows=scaled).split(*splits)

    patch.setattr(cohort, "load", leaky)


def stored_ones_scaled_before_the_split(patch):
    """b: the same, for the windows that masked modelling reads from disk."""

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
    """b: the basis of the video tokens is fitted on all clips."""

    def leaky(self, rank):
        tokens = self.video["video_tokens"]
        return Basis.fit(tokens.reshape(len(tokens), -1), rank)

    patch.setattr(StageData, "basis", leaky)


def components_weighed_by_every_clip(patch):
    """b: the component weights are scaled by the standard deviation over all clips."""
    honest = Aligner.weigh_components

    def leaky(self, held_out):
        honest(self, held_out)
        tokens = Arrays(Path("data/features/video.safetensors"))["video_tokens"]
        basis = self.reader.basis
        spread = basis.read(tokens.reshape(len(tokens), -1)).std(0).astype(np.float32)
        self.reader.basis = replace(basis, weights=basis.weights * spread)

    patch.setattr(Aligner, "weigh_components", leaky)


def mean_of_every_window(patch):
    """b: features are centred by a mean that includes the test windows."""
    honest = Aligner.features

    def leaky(self, *given):
        train, held_out, own = honest(self, *given)
        paths = everybody_s_files()[0]
        every = np.concatenate([Arrays(path)["windows"] for path in paths], dtype=np.float32)
        mean = self.reader.all_features(*self.reader.frozen(every), *given).mean(0)
        return train - (mean - own), held_out - (mean - own), mean

    patch.setattr(Aligner, "features", leaky)


def centred_by_what_is_read_together(patch):
    """b: windows that are decoded together are centred by their own mean."""
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
    """b: the scaler is fitted again on the windows to decode."""

    def leaky(self, windows):
        scaled = StandardScaler().fit_transform(ridge._flat(windows))
        scaled = scaled if self.gate is None else scaled * self.gate
        return scaled @ self.coef

    patch.setattr(ridge.Ridge, "read", leaky)


def gate_of_every_film(patch):
    """b: the baseline's gate is fitted to the subject's responses to all films."""
    honest = reference.best_ridges

    def leaky(train, validation, targets, _agreement):
        volumes = np.float32(cohort.Arrays("data/features/sub-01.safetensors")["windows"]).mean(1)
        trials = read_table("data/features/sub-01_trials.tsv")
        showings, moments = (trials[key].to_numpy() for key in ("repeat", "clip_id"))
        agreement = pair_agreement(volumes, showings, moments).clip(0).astype(np.float32)
        return honest(train, validation, targets, agreement)

    patch.setattr(reference, "best_ridges", leaky)


def predicted_less_the_mean_of_what_is_read(patch):
    """b: the predictable part is centred by the mean of the windows to decode."""
    honest = BrainReader.frozen

    def leaky(self, windows, *more, **given):
        mean, predictable = honest(self, windows, *more, **given)
        return mean, predictable - predictable.mean(0)

    patch.setattr(BrainReader, "frozen", leaky)


def validated_on_test(patch):
    """c: epoch, coupling, penalty and alpha are chosen on the test films."""

    def leaky(honest, subjects, features, trials, splits, *more, **given):
        splits = ("test",) if splits == ("validation",) else splits
        return honest(subjects, features, trials, splits, *more, **given)

    patch.setattr(cohort, "load", partial(leaky, load))
    patch.setattr(cohort, "stored", partial(leaky, stored))


def tuned_by_the_test_loss(patch):
    """c: the LoRA epoch is the one with the lowest loss on the captions of the test clips."""

    def leaky(adapted, reader, video, captions, split, how):
        own = tuning_samples(adapted, reader, video, captions, split, how)
        if split == "train":
            return own
        table = read_table("data/clips.tsv")
        names = list(table.loc[table["split"] == "test", "clip_id"])
        tokens = video["video_tokens"][cohort.rows_of(video.meta["clip_id"], names)]
        said = captions.groupby("clip_id")["caption"].agg(list)
        rows, texts = np.arange(len(names)), [said[n] for n in names]
        return samples.Samples(tokens, rows, rows, texts, lambda found: found, tokens)

    patch.setattr(samples, "tuning_samples", leaky)


def penalty_chosen_on_test(patch):
    """c: the test clips are used to choose the ridge penalty."""

    def leaky(windows, trials, repeats):
        averaged, table = per_clip(windows, trials, repeats)
        again = table[table["split"] == "test"]
        held = again.assign(split="validation")
        return (
            np.concatenate([averaged, averaged[again.index]]),
            pd.concat([table, held], ignore_index=True),
        )

    patch.setattr(reference, "per_clip", leaky)


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
