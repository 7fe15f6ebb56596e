"""The 3D CNN tokenizer: windows of BOLD volumes to one token a patch of brain."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid


class Tokenizer3D(nn.Module):
    """A small 3D CNN on each patch, its volumes in time as channels.

    The convolutions stay within a patch: with receptive fields across patches a visible
    token would already hold its masked neighbours, and masked modelling would be a copy.
    Beside the CNN runs the plain linear patch embedding. It starts as an orthogonal code of the
    window's mean volume, so that what ridge on the mean volume reads reaches the tokens whole
    (at the SNR of single clips, free weights for each volume cost more than they explain), and
    stays it: masked modelling of noisy BOLD would forget what predicts no neighbour, which is
    most of the signal. The CNN sees the volumes apart and is trained; its last layer starts at
    zero.

    Args:
        grid: the patches.
        volumes: volumes in a window (T).
        width: of a token. Far wider than what a patch holds: the sparse coding of SC-MBM.
        channels: of the CNN.
    """

    def __init__(self, grid: PatchGrid, volumes: int, width: int, channels: int = 16) -> None:
        super().__init__()
        self.edge, self.volumes = grid.edge, volumes
        self.register_buffer("index", torch.as_tensor(grid.index), persistent=False)
        self.register_buffer("inside", torch.as_tensor(grid.inside), persistent=False)
        self.embed = nn.Conv3d(volumes, width, grid.edge)
        code = nn.init.orthogonal_(torch.empty(width, grid.edge**3)).view(
            width, 1, *[grid.edge] * 3
        )
        with torch.no_grad():
            self.embed.weight.copy_(code.expand_as(self.embed.weight) / volumes)
        nn.init.zeros_(self.embed.bias)
        self.embed.requires_grad_(False)
        self.conv1 = nn.Conv3d(volumes, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.out = nn.Conv3d(channels, width, grid.edge)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def patches(self, windows: Tensor) -> Tensor:
        """(batch, T, voxels) -> (batch, patches, T * edge**3); zero outside the brain."""
        padded = F.pad(windows, (0, 1))  # index -1 reads the zero appended here
        cells = padded[:, :, self.index]  # (batch, T, patches, edge**3)
        return cells.transpose(1, 2).flatten(2)

    def _cubes(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * edge**3) -> (batch * patches, T, x, y, z)."""
        return patches.reshape(-1, self.volumes, self.edge, self.edge, self.edge)

    def code(self, patches: Tensor) -> Tensor:
        """The linear patch code alone: -> (batch, patches, width)."""
        return _whole(self.embed, self._cubes(patches)).view(*patches.shape[:2], -1)

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * edge**3) -> (batch, patches, width)."""
        h = F.gelu(self.conv2(F.gelu(self.conv1(self._cubes(patches)))))
        return self.code(patches) + _whole(self.out, h).view(*patches.shape[:2], -1)


def _whole(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """A convolution whose kernel is as large as its input, as the matrix product that it is.

    (n, channels, x, y, z) -> (n, width); several times faster than the convolution on CPU.
    """
    return F.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)
