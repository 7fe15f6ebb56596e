"""The guards against leaks do their work: each passes on the code, and fails on a planted leak.

A guard that never fails proves nothing. So each leak is planted here on purpose, as somebody in a
hurry would write it, and its guard must notice. Four kinds: a test stimulus among what is fitted;
a mean, scale or basis that has seen test; an epoch, penalty or gain chosen on test; reference
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
from leak_data import FITTED, but_the_first_trials, run, write_models, write_study
from sklearn.preprocessing import StandardScaler

from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import Basis
from llm4brain.align.stage import StageData
from llm4brain.brain import cohort
from llm4brain.evaluate import baselines, reference
from llm4brain.io import read_table
from llm4brain.tune import samples
from llm4brain.video.videollm import VideoLLM

STAGES = (*FITTED, "decode", "reference")
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


# -- a stranger, known by a few minutes

KNOWN = 5


@pytest.fixture
def stranger_guard(made, tmp_path, monkeypatch):
    """The guard: a model calibrated on the first trials of sub-01 owes nothing to its others."""
    study, _, models = made
    twin = but_the_first_trials(study, tmp_path / "twin", KNOWN)

    def guard(stage: str) -> None:
        monkeypatch.chdir(study)
        known = [f"01={KNOWN}"]
        honest, blind = (
            run(stage, folder, models, tmp_path / name, known)
            for folder, name in ((study, "honest"), (twin, "blind"))
        )
        assert [name for name in honest if honest[name] != blind[name]] == []

    return guard


@pytest.mark.parametrize("stage", ["align", "adapt"])
def test_nothing_but_the_first_trials_of_a_stranger_reaches_a_stage(stranger_guard, stage):
    stranger_guard(stage)


@pytest.mark.parametrize("stage", ["align", "adapt"])
def test_more_of_a_stranger_is_noticed(stranger_guard, monkeypatch, stage):
    def leaky(table, splits, number, where):
        """All that the splits hold: the trials are there, why not use them."""
        return table["split"].isin(splits).to_numpy()

    monkeypatch.setattr(cohort, "_first_known", leaky)
    with pytest.raises(AssertionError):
        stranger_guard(stage)


# -- the leaks: functions that plant one, each for the stage whose guard must notice


load, stored = cohort.load, cohort.stored
tuning_samples, per_clip = samples.tuning_samples, reference.per_clip


def unlabelled_bold_of_every_film(patch):
    """a: "there are no labels in it, so masked modelling may have all of it"."""

    def leaky(subjects, features, trials, splits):
        return stored(subjects, features, trials, ALL if "train" in splits else splits)

    patch.setattr(cohort, "stored", leaky)


def films_of_test_among_the_samples(patch):
    """a: the stage's train samples hold the test films."""

    def leaky(cls, subjects, features, trials, video, _labelled=None):
        train = load(subjects, features, trials, ("train", "test"))
        return cls(train, load(subjects, features, trials, ("validation",)), cohort.Arrays(video))

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

    def leaky(subjects, features, trials, splits):
        every = stored(subjects, features, trials, ALL)
        flat = every.read(every.places).reshape(len(every), -1)
        scaler = StandardScaler().fit(flat)

        class Scaled(type(every)):
            def read(self, places):
                windows = super().read(places)
                scaled = scaler.transform(windows.reshape(len(windows), -1))
                return scaled.reshape(windows.shape).astype(np.float32)

        return Scaled(**vars(stored(subjects, features, trials, splits)))

    patch.setattr(cohort, "stored", leaky)


def components_of_every_clip(patch):
    """b: the basis of the video tokens is fitted on all clips there are."""

    def leaky(self, rank):
        tokens = self.video["video_tokens"]
        return Basis.fit(tokens.reshape(len(tokens), -1), rank)

    patch.setattr(StageData, "basis", leaky)


def mean_of_every_window(patch):
    """b: features are centred by a mean that the test windows are part of."""
    honest = BrainReader.all_features

    def leaky(self, windows, batch=64):
        paths = sorted(Path("data/features").glob("sub-*.safetensors"))
        every = np.concatenate([cohort.Arrays(path)["windows"] for path in paths], dtype=np.float32)
        return honest(self, windows, batch) - honest(self, every, batch).mean(0)

    patch.setattr(BrainReader, "all_features", leaky)


def centred_by_what_is_read_together(patch):
    """b: what is decoded together is centred together."""
    honest = BrainReader.all_features

    def leaky(self, windows, batch=64):
        found = honest(self, windows, batch)
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
        return scaled @ self.train.T @ self.dual + self.centre

    patch.setattr(baselines.Ridge, "read", leaky)


def validated_on_test(patch):
    """c: epoch, coupling, penalty and gain are those that do best on the test films."""

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
    ("decode", teacher_forced),
    ("decode", begun_with_the_reference),
]


@pytest.mark.parametrize(("stage", "leak"), LEAKS, ids=[f"{s}-{f.__name__}" for s, f in LEAKS])
def test_a_planted_leak_is_noticed(guard, monkeypatch, stage, leak):
    leak(monkeypatch)
    with pytest.raises(AssertionError):
        guard(stage)
