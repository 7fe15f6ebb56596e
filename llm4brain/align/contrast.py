"""CLIP loss with duplicates as additional positives.

    L_clip = symmetric InfoNCE between L2-normalised z_f and z_v             (equation 3)

The scale is learned. Duplicates of a clip (its repeats, the same clip in another subject, or
another clip that looks the same) count as positives, never as negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def same_clips(video: Tensor, threshold: float) -> Tensor:
    """(batch, batch) bool: pairs whose frozen video components (batch, rank) nearly coincide."""
    unit = F.normalize(video.float(), dim=1)
    same = unit @ unit.T > threshold
    same.fill_diagonal_(True)
    return same


class ClipLoss(nn.Module):
    """Symmetric InfoNCE with shared positives and a learned scale (1/0.07 at first, as in CLIP)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, brain: Tensor, video: Tensor, same: Tensor) -> Tensor:
        """brain, video: (batch, rank); same: (batch, batch) bool from `same_clips`."""
        a, b = F.normalize(brain.float(), dim=1), F.normalize(video.float(), dim=1)
        logits = self.log_scale.exp().clamp(max=100.0) * a @ b.T
        target = same.float() / same.sum(1, keepdim=True)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
