"""Training of the adaptor, with the readout solved in closed form at each step.

    L = L_clip + lambda_da L_da                                              (equation 7)

The readout is not trained by gradient descent. It is solved for the current features (variable
projection). At each gradient step, each film is predicted by a readout fitted without that film,
and the gradient passes through the solution (cross-fitting). In-sample predictions would be of
no use here: a ridge with more features than samples fits its own training samples almost exactly,
so there would be no error to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llm4brain.align.basis import Space
from llm4brain.align.contrast import ClipLoss, same_clips
from llm4brain.align.domain import Batch, losses
from llm4brain.align.features import products
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import (
    COUPLINGS,
    PENALTIES,
    TEMPERING,
    FittedReadout,
    agreement,
    fit_readout,
    folds_by_stimulus,
    primal,
    reciprocal_rank,
    ridge_dual,
    signal_to_noise,
)
from llm4brain.align.samples import Samples
from llm4brain.checkpoint import NO_PROGRESS, Progress, hash_of
from llm4brain.errors import UserError
from llm4brain.sections import DomainMethod, FitSettings
from llm4brain.training import fit, seed_everything

ALPHAS = (0.0, 0.25, 0.5, 0.7, 0.9)  # candidate fractions of the predictable part to subtract
POWERS = (0.0, 0.5, 1.0, 1.5)  # candidate powers of the gate
COARSE = PENALTIES[1::2]  # for single-person fits, while alpha and power are chosen

ALIKE = 0.9  # video-token correlation above which two clips count as duplicates


class Aligner(nn.Module):
    """The trained part of a stage, and the readout that is solved again for it.

    Args:
        reader: the brain reader whose adaptor is trained.
        train, validation: samples; none from the test split.
        n_folds: number of cross-fitting folds, by stimulus.
        methods: domain adaptation methods; those with a loss take part in training.
        alphas, powers, tempering: candidate values, selected on validation.

    Attributes:
        progress: keeps how well each candidate predicts.
    """

    def __init__(
        self,
        reader: BrainReader,
        train: Samples,
        validation: Samples,
        n_folds: int,
        methods: Sequence[DomainMethod] = (),
        alphas: Sequence[float] = ALPHAS,
        powers: Sequence[float] = POWERS,
        tempering: Sequence[float] = TEMPERING,
    ) -> None:
        super().__init__()
        self.reader, self.clip_loss = reader, ClipLoss()
        self.train_samples, self.validation = train, validation
        self.names = np.unique(train.subjects)
        self.folds = folds_by_stimulus(train.stimuli, n_folds)
        if self.folds.max() < 1:
            wrong = f"hold one film ({train.stimuli[0]}): no clip can be read out of fold"
            raise UserError("train stimuli", wrong, "name two or more in splits.train")
        self.methods = tuple(methods)
        self.domain = losses(methods, train.targets.shape[1], len(self.names))
        self.alphas, self.tempering = alphas, tempering
        self.powers = powers if "gate" in methods else (0.0,)
        self.readout: FittedReadout | None = None
        self.progress = NO_PROGRESS
        self.penalty = PENALTIES[0]

    # -- closed form

    def refit(self) -> float:
        """Choose alpha and power, then solve the readout; return the validation agreement."""
        adaptor = hash_of(*self.reader.adaptor.state_dict().values())
        self.choose_features(adaptor)
        train, held_out, mean = self.features()
        self.reader.mean = torch.from_numpy(mean)
        known = self.train_samples
        at = PENALTIES.index(self.penalty)  # from single-person fits; the joint optimum is close
        self.readout = fit_readout(
            products(train, train),
            known.subjects,
            known.targets,
            self.folds,
            products(held_out, train),
            self.validation.subjects,
            self.validation.targets,
            COUPLINGS,
            PENALTIES[max(0, at - 1) : at + 3],
            lambda tried, reach: self.progress.value(["joint", adaptor, *tried], reach),
        )
        solved = self.readout
        found = primal(solved.dual, train, known.subjects, solved.coupling)
        self.reader.weights = {
            name: torch.from_numpy(np.asarray(weight, dtype=np.float32))
            for name, weight in found.items()
        }
        self.weigh_components(held_out)
        return solved.validation

    def features(self, *given: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centred features of train and validation samples, and the train mean that was subtracted.

        Args:
            given: alpha and power, to override those of the reader.
        """
        both = [
            self.reader.all_features(s.mean, s.predictable, *given)
            for s in (self.train_samples, self.validation)
        ]
        mean = both[0].mean(0)
        for part in both:
            part -= mean
        return both[0], both[1], mean

    def choose_features(self, adaptor: str) -> None:
        """Set alpha and the gate's power to the values that predict validation films best.

        Each person is fitted alone here; the coupling between people is chosen afterwards. Alpha is
        chosen first, at a middle power, then the power. The result does not depend on earlier
        choices, so a resumed run makes the same choice.

        Args:
            adaptor: hash of the adaptor's weights; values of `progress` are kept under it.
        """
        reader = self.reader

        def alone(alpha: float, power: float) -> list[float]:
            key = ["alone", adaptor, alpha, power]
            return self.progress.value(key, lambda: self._alone(alpha, power))

        reader.power = 1.0 if 1.0 in self.powers else self.powers[0]
        found = {alpha: alone(alpha, reader.power) for alpha in self.alphas}
        reader.alpha = max(found, key=found.get)
        others = {p: alone(reader.alpha, p) for p in self.powers if p != reader.power}
        found = {reader.power: found[reader.alpha], **others}
        reader.power = max(found, key=found.get)
        self.penalty = found[reader.power][1]

    def _alone(self, alpha: float, power: float) -> tuple[float, float]:
        """Best validation agreement of ridge fitted to each person alone, and its penalty."""
        train, held_out, _ = self.features(alpha, power)
        total = np.zeros(len(COARSE))
        for name in np.unique(self.validation.subjects):
            own, asked = self.train_samples.subjects == name, self.validation.subjects == name
            if not own.any():
                continue
            kernel, across = products(train[own], train[own]), products(held_out[asked], train[own])
            for i, penalty in enumerate(COARSE):
                read = across @ ridge_dual(kernel, self.train_samples.targets[own], penalty)
                total[i] += agreement(read, self.validation.targets[asked]) * asked.sum()
        return float(total.max() / len(self.validation)), COARSE[int(total.argmax())]

    def weigh_components(self, held_out: np.ndarray) -> None:
        """Weight the components by how well train subjects' BOLD predicts them.

        The weights come from out-of-fold predictions of train films; their power is chosen on
        validation.
        """
        basis, truth = self.reader.basis, self.validation.targets
        read, subjects = self._read(held_out), self.validation.subjects
        turn, reached = Space.of(basis).turn, {}
        for power in self.tempering:
            given = (self.readout.out_of_fold, self.train_samples.targets, power)
            weighed = replace(basis, weights=signal_to_noise(*given))
            ranks = [
                reciprocal_rank((read[rows] * weighed.weights) @ turn, truth[rows] @ turn)
                for rows in (subjects == name for name in np.unique(subjects))
            ]
            reached[power] = (float(np.mean(ranks)), weighed)
        best = max(reached, key=lambda power: reached[power][0])
        self.reader.basis = reached[best][1]

    def _read(self, held_out: np.ndarray) -> np.ndarray:
        """Predictions for validation samples from their centred features."""
        read = np.empty_like(self.validation.targets)
        for name in np.unique(self.validation.subjects):
            rows = self.validation.subjects == name
            read[rows] = held_out[rows] @ self.reader.weights[name].numpy()
        return read

    def read_validation(self) -> np.ndarray:
        """(n, rank) predictions for the validation samples."""
        return self._read(self.features()[1])

    # -- gradient

    def read(self, samples: Samples, folds: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-fitted predictions for one person: each fold from a readout fitted without it.

        Returns:
            (m, rank) predictions and the (m,) row numbers they belong to; empty for a person with
            fewer than two folds.
        """
        targets = torch.from_numpy(samples.targets).to(features)
        kernel = features @ features.T
        ridge = self.readout.penalty * kernel.diagonal().mean()
        found, rows = [], []
        for fold in folds.unique():
            out = torch.nonzero(folds == fold)[:, 0]
            rest = torch.nonzero(folds != fold)[:, 0]
            if len(rest) < 2:
                continue
            eye = torch.eye(len(rest), dtype=kernel.dtype, device=kernel.device)
            factor = torch.linalg.cholesky(kernel[rest][:, rest] + ridge * eye)
            dual = torch.cholesky_solve(targets[rest], factor)
            found.append(kernel[out][:, rest] @ dual)
            rows.append(out)
        if not found:
            return features.new_zeros(0, targets.shape[1]), features.new_zeros(0).long()
        return torch.cat(found), torch.cat(rows)

    def loss(self, people: np.ndarray, weight: float) -> dict[str, Tensor]:
        """L_clip + weight * L_da over all train samples of these people (indices)."""
        if self.readout is None:  # run was resumed: solve for the restored adaptor
            self.refit()
        device = self.reader.adaptor.log_weight.device
        with torch.autocast(device.type, enabled=False):
            brains, videos, numbers, views = [], [], [], []
            drop = self.domain.draw_view(self.reader.encoder)
            for number in people:
                own = self.train_samples.subjects == self.names[number]
                samples, folds = self.train_samples.rows(own), torch.from_numpy(self.folds[own])
                given = (
                    torch.from_numpy(x).to(device) for x in (samples.mean, samples.predictable)
                )
                features = self.reader.features(*given) - self.reader.mean.to(device)
                read, rows = self.read(samples, folds.to(device), features)
                brains.append(read)
                videos.append(torch.from_numpy(samples.targets).to(device)[rows])
                numbers.append(torch.full_like(rows, int(number)))
                if drop is not None:
                    views.append(self.read(samples, folds.to(device), features * drop)[0])
            written = torch.from_numpy(self.reader.basis.weights).to(device)
            brain, video = torch.cat(brains) * written, torch.cat(videos)
            if not len(brain):
                nothing = 0.0 * self.reader.adaptor.log_weight.sum()
                return {"loss": nothing, "clip_loss": nothing, "domain_loss": nothing}
            clip = self.clip_loss(brain, video, same_clips(video, ALIKE))
            view = torch.cat(views) * written if views else None
            domain = self.domain(Batch(brain, torch.cat(numbers), view))
        return {"loss": clip + weight * domain, "clip_loss": clip, "domain_loss": domain}


@dataclass(frozen=True)
class Stage:
    """The result of a stage: its training log and the fitted readout."""

    log: pd.DataFrame
    readout: FittedReadout


def train_stage(
    aligner: Aligner,
    settings: FitSettings,
    weight: float,
    seed: int,
    name: str,
    folder: Path,
    accelerator: Accelerator,
    identity: object = None,
) -> Stage:
    """Train the adaptor and keep the epoch whose readout predicts validation films best."""
    seed_everything(seed, name)
    aligner.to(accelerator.device)
    aligner.progress = Progress(folder, [identity, seed, name])

    def validate() -> dict[str, float]:
        reached = aligner.refit()
        return {
            "val_loss": 1 - reached, "alpha": aligner.reader.alpha, "power": aligner.reader.power
        }  # fmt: skip

    log = fit(
        aligner,
        samples=len(aligner.names),
        loss=lambda people: aligner.loss(people, weight),
        validate=validate,
        settings=settings,
        seed=seed,
        name=name,
        folder=folder,
        accelerator=accelerator,
        identity=identity,
    )
    # the best epoch's weights were restored, or the run resumed after the last epoch: refit
    if aligner.readout is None or not log["best"].iloc[-1]:
        aligner.refit()
    return Stage(log, aligner.readout)
