"""Domain adaptation across subjects: one interface, four members.

L_da makes readings of different subjects alike without a label. Each member is a module called
with a `Batch` and returns a scalar. None of them is asserted to be the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.sections import DomainMember


@dataclass(frozen=True)
class Batch:
    """What a member may look at: no clip, no caption.

    Attributes:
        windows: (batch, T, voxels) unlabelled BOLD.
        reading: (batch, rank) what the encoder reads from it.
        subject: (batch,) number of the subject.
        read: windows -> readings, for members that read a second view.
    """

    windows: Tensor
    reading: Tensor
    subject: Tensor
    read: Callable[[Tensor], Tensor]


class NoAdaptation(nn.Module):
    """L_da = 0."""

    def forward(self, batch: Batch) -> Tensor:
        return batch.reading.new_zeros(())


class _Reverse(torch.autograd.Function):
    """Identity whose gradient is reversed (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return -gradient


class Adversarial(nn.Module):
    """A classifier names the subject from the reading; the encoder learns to leave it guessing."""

    def __init__(self, rank: int, subjects: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(rank, 64), nn.GELU(), nn.Linear(64, subjects))

    def forward(self, batch: Batch) -> Tensor:
        reading = F.normalize(batch.reading.float(), dim=1)
        return F.cross_entropy(self.critic(_Reverse.apply(reading)), batch.subject)


class Coral(nn.Module):
    """Means and covariances of readings agree between subjects (Sun & Saenko 2016)."""

    def forward(self, batch: Batch) -> Tensor:
        reading = batch.reading.float()
        pooled = self._moments(reading)
        loss = reading.new_zeros(())
        for subject in batch.subject.unique():
            own = reading[batch.subject == subject]
            if len(own) > 2:
                mean, covariance = self._moments(own)
                loss = loss + F.mse_loss(mean, pooled[0]) + F.mse_loss(covariance, pooled[1])
        return loss

    @staticmethod
    def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(0)
        return mean, (x - mean).T @ (x - mean) / max(1, len(x) - 1)


class SelfSupervised(nn.Module):
    """Masked modelling through the adaptors, plus agreement of two views of one window.

    A view leaves out each patch with probability `drop`, so what is read must rest on all of
    the brain and not on one subject's peculiar patch.
    """

    def __init__(self, encoder: SCMBM, drop: float = 0.25) -> None:
        super().__init__()
        self.encoder = [encoder]  # in a list: its weights are not this module's
        self.drop = drop

    def forward(self, batch: Batch) -> Tensor:
        encoder = self.encoder[0]
        masks = encoder.draw_masks(len(batch.windows))
        masked = encoder.masked_loss(batch.windows, masks)
        views = [F.normalize(batch.read(self._view(batch.windows)).float(), dim=1)]
        views.append(F.normalize(batch.reading.float(), dim=1))
        return masked + (1 - (views[0] * views[1]).sum(1)).mean()

    def _view(self, windows: Tensor) -> Tensor:
        encoder = self.encoder[0]
        index, inside = encoder.tokenizer.index, encoder.tokenizer.inside
        keep = torch.rand(len(windows), len(index), device=windows.device) >= self.drop
        voxels = torch.zeros(len(windows), windows.shape[2], device=windows.device)
        patch_of = torch.nonzero(inside)[:, 0]
        voxels[:, index[inside]] = keep[:, patch_of].to(voxels.dtype)
        return windows * voxels[:, None, :]


def member(name: DomainMember, rank: int, subjects: int, encoder: SCMBM) -> nn.Module:
    """Build the named member."""
    match name:
        case "none":
            return NoAdaptation()
        case "adversarial":
            return Adversarial(rank, subjects)
        case "coral":
            return Coral()
        case "selfsupervised":
            return SelfSupervised(encoder)
