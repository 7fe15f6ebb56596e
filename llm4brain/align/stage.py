"""Data loading and file output shared by `align` and `adapt`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm4brain.align import stranger
from llm4brain.align.aligner import Aligner, Stage
from llm4brain.align.basis import Basis
from llm4brain.align.features import blocks
from llm4brain.align.gate import AgreementGate, smooth, smooth_weights
from llm4brain.align.reader import BrainReader, Way, grid_in
from llm4brain.align.samples import Samples
from llm4brain.align.stranger import Choice, Features, Help, Problem
from llm4brain.brain import cohort
from llm4brain.brain.adaptor import PositionAdaptor
from llm4brain.brain.cohort import Cohort, rows_of
from llm4brain.brain.pretrain import load_encoder
from llm4brain.checkpoint import NO_PROGRESS, Progress
from llm4brain.errors import UserError
from llm4brain.io import Arrays


@dataclass(frozen=True)
class StageData:
    """Train and validation samples of the known people, and the video tokens; no test samples.

    Attributes:
        train, validation: samples of people whose training data are all used.
        paths: subjects, features and trials, as given.
        video: video tokens of all clips.
        labelled: person -> number of train trials used, for people of whom only some are.
    """

    train: Cohort
    validation: Cohort
    paths: tuple[Sequence[str], Sequence[Path], Sequence[Path]]
    video: Arrays
    labelled: Mapping[str, int]

    @classmethod
    def load(
        cls,
        subjects: Sequence[str],
        features: Sequence[Path],
        trials: Sequence[Path],
        video: Path,
        labelled: Mapping[str, int] | None = None,
    ) -> StageData:
        """See `cohort.load`."""
        few = labelled or {}
        rows = zip(subjects, features, trials, strict=True)
        known = tuple(zip(*(row for row in rows if row[0] not in few), strict=True))
        train, validation = (cohort.load(*known, (name,)) for name in ("train", "validation"))
        return cls(train, validation, (subjects, features, trials), Arrays(video), few)

    def clips(self, samples: Cohort) -> np.ndarray:
        """(n,) row of each sample's clip in the video features."""
        return rows_of(self.video.meta["clip_id"], list(samples.column("clip_id")))

    def targets(self, samples: Cohort, basis: Basis) -> np.ndarray:
        """(n, rank) components of each sample's clip; each clip is projected once."""
        clips, place = np.unique(self.clips(samples), return_inverse=True)
        return basis.read(self.video.mapped("video_tokens"), clips)[place]

    def basis(self, rank: int) -> Basis:
        """Components of the video tokens of train clips; each clip counts once."""
        clips = np.unique(self.clips(self.train))
        return Basis.fit(self.video.mapped("video_tokens"), rank, clips)

    def samples(self, reader: BrainReader) -> tuple[Samples, Samples]:
        """Train and validation samples, as computed by the frozen encoder."""
        train, validation = (
            Samples.of(part, self.targets(part, reader.basis), reader)
            for part in (self.train, self.validation)
        )
        return train, validation

    def without_windows(self) -> StageData:
        """The same without windows, of which only their shape is kept; samples take their place."""
        train, validation = (
            replace(part, windows=np.broadcast_to(np.float32(0), part.windows.shape))
            for part in (self.train, self.validation)
        )
        return replace(self, train=train, validation=validation)

    def few(self, reader: BrainReader, name: str, trials: int) -> Samples:
        """The first `trials` train trials of a person."""
        at = self.paths[0].index(name)
        own = ([part[at]] for part in self.paths)
        found = cohort.load(*own, ("train",), labelled={name: trials})
        return Samples.of(found, self.targets(found, reader.basis), reader)

    def gate(self, smooth_mm: float, without: str = "") -> AgreementGate:
        """Agreement of the known people's train responses; showings are kept separate."""
        rows = zip(*self.paths, strict=True)
        kept = [row for row in rows if row[0] not in self.labelled and row[0] != without]
        every = [cohort.trials_of(*row, ("train",)) for row in kept]
        volumes = np.concatenate([volumes for volumes, _ in every])
        table = {
            key: np.concatenate([trials[key].to_numpy() for _, trials in every])
            for key in ("clip_id", "repeat")
        }
        who = np.repeat([row[0] for row in kept], [len(trials) for _, trials in every])
        gate = AgreementGate(smooth_mm=smooth_mm)
        return gate.fit(
            volumes,
            subjects=who,
            moments=table["clip_id"],
            showings=table["repeat"],
            coordinates=self.train.millimetres,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.video.shape("video_tokens")[1:]


def new_reader(data: StageData, pretrained: Path, adaptor_width: int, rank: int) -> BrainReader:
    """A reader on a pretrained SC-MBM; its adaptor starts as the identity."""
    arrays = Arrays(pretrained)
    encoder = load_encoder(arrays)
    adaptor = PositionAdaptor(grid_in(arrays, encoder), adaptor_width)
    return BrainReader(encoder, adaptor, data.basis(rank), data.shape)


def learn_gate(data: StageData, reader: BrainReader, smooth_mm: float) -> str:
    """Fit the gate of the reader; returns a message that says what it was fitted to."""
    gate = data.gate(smooth_mm)
    reader.agreement = gate.agreement_
    what = " and ".join(gate.rests_on_)
    if not what:
        return "nothing to learn the gate from: one person, and no clip shown twice; it is off"
    return f"the gate rests on agreement between {what}"


@dataclass(frozen=True)
class Known:
    """A decoder of known people, from which weights for new people are derived.

    Attributes:
        train, validation: samples of the known people.
        size: mean norm of their weighted out-of-fold predictions.
        penalty: of their readout.
        smooth_mm: smoothing of the gate.
        options: candidate `alphas` and `powers` for the known people; a single value is fixed.
        progress: keeps what was learned without each known person.
    """

    data: StageData
    reader: BrainReader
    train: Samples
    validation: Samples
    size: float
    penalty: float
    smooth_mm: float
    options: Mapping[str, Sequence[float]]
    progress: Progress = NO_PROGRESS

    def give(self, name: str, trials: int, how: Help, n_components: int) -> Choice:
        """Add weights for a new person to the reader; `shared` is for anyone without data.

        Args:
            trials: number of train trials of the person, labelled or unlabelled.
            how: how the others' data are used, see `align.stranger`.
            n_components: dimension of the space shared by people's responses.
        """
        choice = self._choose(trials, how, n_components)
        few = self.data.few(self.reader, name, trials) if trials else None
        if few is not None and not len(few):
            wrong = f"has no valid one among its first {trials} train trials"
            raise UserError(f"sub-{name}", wrong, "give more minutes")
        seen = choice.alpha, choice.power
        features = self._features_for(how)
        rows = features(self.train, *seen, 0.0)
        own = features(few, *seen, 0.0) if few else rows[:0]
        mean = (own if how == "alone" else rows).mean(0)  # of features as the reader computes them
        rows, own = (self._smoothed(part, choice.smooth_mm) for part in (rows, own))
        ready = stranger.prepare(rows, own, self.train, how, choice.noise, n_components)
        problem = Problem(ready, self.train, few, choice.coupling, how)
        # the reader neither whitens nor smooths features, so the weights are whitened and smoothed
        weights = ready.white.apply(choice.scale * problem.weights(choice.penalty).T).T
        if choice.smooth_mm:
            weights = smooth_weights(weights, self.data.train.millimetres, choice.smooth_mm)
        self.reader.weights[name] = torch.from_numpy(weights.astype(np.float32))
        self.reader.ways[name] = Way(*seen, how != "alone", torch.from_numpy(mean))
        print(f"{name}, {how}: {choice}", file=sys.stderr)
        return choice

    def _choose(self, trials: int, how: Help, n_components: int) -> Choice:
        """Choose by leaving out each known person in turn; with one person, keep its settings."""
        reader, names = self.reader, np.unique(self.train.subjects)
        start, options = (reader.alpha, reader.power), self.options
        if how == "alone":  # neither surprise nor gate: both are learned from the others
            start, options = (0.0, 0.0), {"alphas": (0.0,), "powers": (0.0,)}
        if len(names) < 2:
            now = (*start, 0.0, 0.0)
            return Choice(*now, 1.0, self.penalty, 1.0, float("nan"))
        left_out = names[: stranger.LEFT_OUT]
        print(f"left out in turn: {', '.join(left_out)}", file=sys.stderr)
        gates = dict.fromkeys(left_out, reader.agreement)
        if max(options["powers"]):
            learned = {s: self._gate_without(s) for s in left_out}
            # one remaining person without repeats gives no agreement: use the gate of all people
            gates |= {s: gate for s, gate in learned.items() if gate is not None}
        few = {s: self.data.few(reader, s, trials) for s in left_out} if trials else {}
        if how in stranger.OWN_READOUT:  # cannot be fitted to a person whose first trials are bad
            gates = {s: gate for s, gate in gates.items() if len(few[s])}
        if not gates:
            wrong = f"have no valid one among their first {trials} train trials"
            raise UserError("the known people", wrong, "give more minutes")
        free = {
            name: getattr(stranger, name.upper()) if len(values) > 1 else values
            for name, values in options.items()
            if name in ("alphas", "powers")
        }
        known = (self.train, self.validation, few, gates, self._features_for(how))
        given = (how, start, n_components, self.size, reader.basis)
        return stranger.choose(*known, *given, **free, progress=self.progress)

    def _gate_without(self, name: str) -> np.ndarray | None:
        """Agreement of the other people's responses; None if there is nothing to learn it from."""

        def learn() -> dict[str, torch.Tensor]:
            gate = self.data.gate(self.smooth_mm, name)
            return {"agreement": torch.from_numpy(gate.agreement_)} if gate.rests_on_ else {}

        found = self.progress.tensors(["gate", name], learn)
        return found["agreement"].numpy() if found else None

    def _features_for(self, how: Help) -> Features:
        """Features of samples; without the others' adaptor if `alone`."""

        def features(
            samples: Samples,
            alpha: float,
            power: float,
            smooth_mm: float,
            agreement: np.ndarray | None = None,
        ) -> np.ndarray:
            given = (alpha, power, agreement, how != "alone")
            found = self.reader.all_features(samples.mean, samples.predictable, *given)
            return self._smoothed(found, smooth_mm)

        return features

    def _smoothed(self, rows: np.ndarray, smooth_mm: float) -> np.ndarray:
        """Smooth features (n, positions) in place; 0 mm changes nothing."""
        if smooth_mm and len(rows):
            for part in blocks(rows.shape[1], len(rows)):
                rows[part] = smooth(rows[part], self.data.train.millimetres, smooth_mm)
        return rows


def save(
    path: Path, aligner: Aligner, stage: Stage, source: Path, data: StageData, meta: dict[str, Any]
) -> None:
    """Write the reader, and the arrays that later stages train on.

    `train.out_of_fold` and `validation.read` are (samples, components). Their rows follow
    `train_clips`/`train_subjects` and `validation_clips`/`validation_subjects` in meta.
    """
    reader = aligner.reader
    extra = {
        "train.out_of_fold": stage.readout.out_of_fold.astype(np.float32),
        "validation.read": aligner.read_validation(),
    }
    meta = meta | {
        "window_volumes": data.train.windows.shape[1],
        "train_clips": data.train.column("clip_id").tolist(),
        "train_subjects": data.train.column("subject").tolist(),
        "validation_clips": data.validation.column("clip_id").tolist(),
        "validation_subjects": data.validation.column("subject").tolist(),
        "coupling": stage.readout.coupling,
        "penalty": stage.readout.penalty,
        "validation_agreement": stage.readout.validation,
    }
    reader.save(path, Arrays(source), extra, meta)
