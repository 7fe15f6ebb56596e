"""The CLIP loss, told which clips show the same thing.

    L_clip = symmetric InfoNCE between L2-normalised z_f and z_v             (equation 3)

with a learned scale. A clip's duplicates (its own repeats, the same clip in another subject,
another clip that looks the same) are further positives, never negatives of one another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def same_clips(video: Tensor, threshold: float) -> Tensor:
    """(batch, batch) bool: pairs whose frozen video readings (batch, rank) nearly coincide."""
    unit = F.normalize(video.float(), dim=1)
    same = unit @ unit.T > threshold
    same.fill_diagonal_(True)
    return same


class ClipLoss(nn.Module):
    """Symmetric InfoNCE with shared positives and a learned scale (CLIP's start, 1/0.07)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, brain: Tensor, video: Tensor, same: Tensor) -> Tensor:
        """brain, video: (batch, rank); same: (batch, batch) bool of `same_clips`."""
        a, b = F.normalize(brain.float(), dim=1), F.normalize(video.float(), dim=1)
        logits = self.log_scale.exp().clamp(max=100.0) * a @ b.T
        target = same.float() / same.sum(1, keepdim=True)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
