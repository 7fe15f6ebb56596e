"""Domain adaptation across people, behind one interface.

`gate` is a closed-form method, fitted before any gradient step (`align/gate.py`). The other methods
are losses added to the CLIP loss: modules that take a `Batch` and return a scalar. We do not claim
that any of them is the one used in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.sections import DomainMethod


@dataclass(frozen=True)
class Batch:
    """Input to a domain adaptation loss; it holds no clip and no caption.

    Attributes:
        reading: (n, rank) predictions for the samples.
        subject: (n,) index of the person.
        view: (n, rank) predictions for the same samples with some patches dropped; None if no
            loss uses it.
    """

    reading: Tensor
    subject: Tensor
    view: Tensor | None = None


class _Reverse(torch.autograd.Function):
    """Identity whose gradient is reversed (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return -gradient


class Adversarial(nn.Module):
    """A classifier predicts the subject; reversed gradients remove that information upstream."""

    def __init__(self, rank: int, subjects: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(rank, 64), nn.GELU(), nn.Linear(64, subjects))

    def forward(self, batch: Batch) -> Tensor:
        reading = F.normalize(batch.reading.float(), dim=1)
        return F.cross_entropy(self.critic(_Reverse.apply(reading)), batch.subject)


class Coral(nn.Module):
    """Match the mean and covariance of predictions across subjects (Sun & Saenko 2016)."""

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
    """Make predictions from two views of the same window agree.

    A view drops each patch with probability `DROP`, so the prediction has to use the whole brain
    rather than one patch that is peculiar to one person.
    """

    def forward(self, batch: Batch) -> Tensor:
        views = (F.normalize(v.float(), dim=1) for v in (batch.reading, batch.view))
        return (1 - torch.mul(*views).sum(1)).mean()


DROP = 0.25


class DomainLosses(nn.Module):
    """The sum of the losses of the chosen methods; 0 if none has a loss."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def draw_view(self, encoder: SCMBM) -> Tensor | None:
        """(positions,) mask, 0 where a patch is dropped; None if no loss needs a view."""
        if not any(isinstance(part, SelfSupervised) for part in self.parts):
            return None
        keep = torch.rand(len(encoder.turns), device=encoder.pos.device) >= DROP
        return keep[encoder.patch_of].float()

    def forward(self, batch: Batch) -> Tensor:
        return sum((part(batch) for part in self.parts), batch.reading.new_zeros(()))


def losses(methods: Sequence[DomainMethod], rank: int, subjects: int) -> DomainLosses:
    """The losses of the named methods; `gate` has no loss."""
    build = {
        "adversarial": lambda: Adversarial(rank, subjects),
        "coral": Coral,
        "selfsupervised": SelfSupervised,
    }
    return DomainLosses([build[name]() for name in methods if name in build])
