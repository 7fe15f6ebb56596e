"""One stage of alignment: adaptors by gradient, readout in closed form.

    L = L_clip + lambda_da L_da                                              (equation 7)

The readout is never trained by gradient: after each epoch it is solved anew for the features
as they are (variable projection). Gradients reach the adaptors through readouts fitted
without the sample's own stimulus (cross-fitting), because in sample a ridge over more features
than samples is always nearly right and has nothing to teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llm4brain.align.contrast import ClipLoss, same_clips
from llm4brain.align.domain import Batch, member
from llm4brain.align.features import centre, products
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import COUPLINGS, Readout, fit_readout, folds_by_stimulus, primal
from llm4brain.brain.cohort import Cohort
from llm4brain.sections import DomainMember, FitSettings
from llm4brain.training import fit, seed_everything

GAINS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)  # of what SC-MBM adds to the linear patch code

ALIKE = 0.9  # correlation of video readings above which clips count as showing the same


class VideoSide(nn.Module):
    """The Q-Former's reading of stored ViT tokens, with its adaptors.

    Args:
        video_tokens: ViT tokens (b, frames, n, v) -> video tokens (b, K, d).
        adaptors: as inserted in the Q-Former's layers.
        vit_tokens: (clips, frames, n, v) stored features.
    """

    def __init__(self, video_tokens, adaptors: nn.ModuleList, vit_tokens: np.ndarray) -> None:
        super().__init__()
        self.adaptors = adaptors
        self.register_buffer("_here", torch.empty(0), persistent=False)  # which device
        self._video_tokens, self._vit = video_tokens, vit_tokens

    def forward(self, clips: np.ndarray) -> Tensor:
        """Numbers of clips -> (batch, K * d)."""
        vit = torch.from_numpy(self._vit[clips].astype(np.float32)).to(self._here.device)
        return self._video_tokens(vit).flatten(1).float()


class Aligner(nn.Module):
    """What one stage trains: adaptors of both sides, the CLIP scale, the member's critic."""

    def __init__(
        self,
        reader: BrainReader,
        video: VideoSide,
        train: Cohort,
        validation: Cohort,
        targets: tuple[np.ndarray, np.ndarray],
        clips: np.ndarray,
        folds: int,
        domain: DomainMember,
    ) -> None:
        """Args:
        targets: components of the frozen video tokens of train and validation samples.
        clips: (n,) row of each train sample's clip in the stored video features.
        """
        super().__init__()
        self.reader, self.video, self.clip_loss = reader, video, ClipLoss()
        self.train_cohort, self.val_cohort, self.clips = train, validation, clips
        self.targets, self.val_targets = targets
        self.subjects, self.val_subjects = train.column("subject"), validation.column("subject")
        self.names = np.unique(self.subjects)
        self.folds = folds_by_stimulus(train.column("stim_file"), folds)
        self.domain = member(domain, self.targets.shape[1], len(self.names), reader.encoder)
        self.readout: Readout | None = None

    def refit(self) -> float:
        """Solve the readout for the features as they now are; returns validation agreement."""
        if self.readout is not None and self.reader.gain == 0:
            return self.readout.validation  # adaptors move nothing that is read
        train, held_out = self._centred()
        self.readout = self._solve(products(train, train), products(held_out, train))
        features = train
        solved = self.readout
        self.reader.weights = {
            name: torch.from_numpy(np.asarray(weight, dtype=np.float32))
            for name, weight in primal(
                solved.dual, features, self.subjects, solved.coupling
            ).items()
        }
        device = next(self.reader.encoder.parameters()).device
        self._fold_weights = [
            {
                name: torch.from_numpy(np.asarray(weight, dtype=np.float32)).to(device)
                for name, weight in primal(dual, features, self.subjects, solved.coupling).items()
                if name != "shared"  # train samples have a subject
            }
            for dual in solved.fold_dual
        ]
        self._mean = self.reader.mean.to(device)
        return solved.validation

    def choose_gain(self) -> None:
        """Set the reader's gain to the one that reads validation stimuli best."""
        self.reader.gain = 1.0
        train, held_out = self._centred()
        half = train.shape[1] // 2
        parts = slice(None, half), slice(half, None)
        halves = [(train[:, part], held_out[:, part]) for part in parts]
        (own, own_across), (added, added_across) = (
            (products(known, known), products(held, known)) for known, held in halves
        )
        # The coupling is that of the patch code: to choose both at once takes six times as long.
        couplings: Sequence[float] = (self._solve(own, own_across, folds=False).coupling,)
        reached = {
            gain: self._solve(
                own + gain**2 * added,
                own_across + gain**2 * added_across,
                folds=False,
                couplings=couplings,
            ).validation
            for gain in GAINS
        }
        self.reader.gain = max(reached, key=reached.get)

    def _centred(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of train and validation samples, less the mean of train, which is kept."""
        train = self.reader.all_features(self.train_cohort.windows)
        held_out = self.reader.all_features(self.val_cohort.windows)
        mean = np.asarray(train.mean(0))
        centre(train, mean)
        centre(held_out, mean)
        self.reader.mean = torch.from_numpy(mean)
        return train, held_out

    def _solve(
        self,
        kernel: np.ndarray,
        across: np.ndarray,
        folds: bool = True,
        couplings: Sequence[float] = COUPLINGS,
    ) -> Readout:
        """The readout for a kernel; `folds=False` leaves cross-fitting out."""
        return fit_readout(
            kernel,
            self.subjects,
            self.targets,
            self.folds if folds else None,
            across,
            self.val_subjects,
            self.val_targets,
            couplings,
        )

    def read(self, windows: Tensor, samples: np.ndarray) -> Tensor:
        """Cross-fitted reading of train samples: -> (batch, rank)."""
        centred = self.reader.features(windows).float() - self._mean
        out = centred.new_zeros(len(samples), self.targets.shape[1])
        keys = np.array([f"{f} {s}" for f, s in zip(self.folds, self.subjects, strict=True)])
        for key in np.unique(keys[samples]):
            rows = torch.from_numpy(np.flatnonzero(keys[samples] == key)).to(out.device)
            fold, subject = key.split(" ", 1)
            weight = self._fold_weights[int(fold)][subject]
            out = out.index_copy(0, rows, (centred[rows] @ weight).float())
        return out

    def loss(self, batch: np.ndarray, weight: float) -> dict[str, Tensor]:
        """L_clip + weight * L_da of a batch of train samples."""
        if self.readout is None:  # resumed after a kill: solve for the restored adaptors
            self.refit()
        device = self._mean.device
        windows = torch.from_numpy(self.train_cohort.windows[batch]).to(device)
        brain = self.read(windows, batch)
        mean = torch.from_numpy(self.reader.basis.mean).to(device)
        axes = torch.from_numpy(self.reader.basis.axes).to(device)
        video = (self.video(self.clips[batch]) - mean) @ axes.T
        frozen = torch.from_numpy(np.asarray(self.targets[batch], dtype=np.float32)).to(device)
        clip = self.clip_loss(brain, video, same_clips(frozen, ALIKE))
        numbers = torch.from_numpy(np.searchsorted(self.names, self.subjects[batch])).to(device)
        shown = Batch(windows, brain, numbers, lambda view: self.read(view, batch))
        domain = self.domain(shown)
        return {"loss": clip + weight * domain, "clip_loss": clip, "domain_loss": domain}


@dataclass(frozen=True)
class Stage:
    """What a stage leaves: its log, and the readings that later stages train on."""

    log: pd.DataFrame
    readout: Readout


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
    """Train the adaptors and keep the epoch whose readout reads validation stimuli best."""
    seed_everything(seed, name)
    aligner.to(accelerator.device)

    def validate() -> dict[str, float]:
        return {"val_loss": 1 - aligner.refit()}

    log = fit(
        aligner,
        samples=len(aligner.subjects),
        loss=lambda batch: aligner.loss(batch, weight),
        validate=validate,
        settings=settings,
        seed=seed,
        name=name,
        folder=folder,
        accelerator=accelerator,
        identity=identity,
    )
    if not log["best"].iloc[-1]:
        aligner.refit()  # the best epoch's weights are back: so must be their readout
    return Stage(log, aligner.readout)
