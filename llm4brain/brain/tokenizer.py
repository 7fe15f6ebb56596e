"""Tokenizers: windows of BOLD volumes to one token a patch of brain."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid


class Tokenizer(nn.Module):
    """What tokenizers share: how a window is cut.

    Attributes:
        volumes: in a window (T).
        index: (patches, cells) of the grid.
        inside: (patches, cells) bool, cells whose voxel counts in a loss.
        values: numbers that masked modelling predicts of a token.
    """

    def __init__(self, grid: PatchGrid, volumes: int) -> None:
        super().__init__()
        self.volumes, self.values = volumes, volumes * grid.index.shape[1]
        self.register_buffer("index", torch.as_tensor(grid.index), persistent=False)
        self.register_buffer("inside", torch.as_tensor(grid.inside), persistent=False)

    def patches(self, windows: Tensor) -> Tensor:
        """(batch, T, voxels) -> (batch, patches, T * cells); zero in empty cells."""
        padded = F.pad(windows, (0, 1))  # index -1 reads the zero appended here
        cells = padded[:, :, self.index]  # (batch, T, patches, cells)
        return cells.transpose(1, 2).flatten(2)

    @property
    def counted(self) -> Tensor:
        """(patches, values) bool: what counts in the loss of masked modelling."""
        return self.inside.repeat(1, self.values // self.inside.shape[1])

    def code(self, patches: Tensor) -> Tensor:
        """The linear patch code alone: (batch, patches, values) -> (batch, patches, width)."""
        raise NotImplementedError


class Tokenizer3D(Tokenizer):
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
        super().__init__(grid, volumes)
        self.edge = grid.edge
        self.embed = mean_code(nn.Conv3d(volumes, width, grid.edge))
        self.conv1 = nn.Conv3d(volumes, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.out = nn.Conv3d(channels, width, grid.edge)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def _cubes(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * edge**3) -> (batch * patches, T, x, y, z)."""
        return patches.reshape(-1, self.volumes, self.edge, self.edge, self.edge)

    def code(self, patches: Tensor) -> Tensor:
        """The linear patch code alone: -> (batch, patches, width)."""
        return _whole(self.embed, self._cubes(patches)).view(*patches.shape[:2], -1)

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * edge**3) -> (batch, patches, width)."""
        cubes = self._cubes(patches)
        # In bf16 on CPUs that multiply it, the weights' gradient is garbage where the kernel of 3
        # is larger than its input (PyTorch 2.13's oneDNN; right from an edge of 3 on).
        garbled = cubes.device.type == "cpu" and self.edge < self.conv1.kernel_size[0]
        with torch.autocast("cpu", enabled=False) if garbled else nullcontext():
            h = F.gelu(self.conv2(F.gelu(self.conv1(cubes))))
        return self.code(patches) + _whole(self.out, h).view(*patches.shape[:2], -1)


class TokenizerSurface(Tokenizer):
    """Patches of grayordinates, which have no edges: one hidden layer in place of the 3D CNN.

    All else is as in `Tokenizer3D`: nothing reaches across patches, and beside the part that is
    trained runs the fixed orthogonal code of the mean volume.

    Args:
        grid: the patches.
        volumes: volumes in a window (T).
        width: of a token.
        hidden: units that look at a whole patch, all its volumes apart.
    """

    def __init__(self, grid: PatchGrid, volumes: int, width: int, hidden: int = 64) -> None:
        super().__init__(grid, volumes)
        self.embed = mean_code(nn.Conv1d(volumes, width, grid.index.shape[1]))
        self.hidden = nn.Conv1d(volumes, hidden, grid.index.shape[1])
        self.out = nn.Conv1d(hidden, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def code(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * cells) -> (batch, patches, width)."""
        return _whole(self.embed, patches.flatten(0, 1)).view(*patches.shape[:2], -1)

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, patches, T * cells) -> (batch, patches, width)."""
        h = F.gelu(_whole(self.hidden, patches.flatten(0, 1)))
        return self.code(patches) + _whole(self.out, h).view(*patches.shape[:2], -1)


def mean_code(conv: nn.Conv3d | nn.Conv1d) -> nn.Conv3d | nn.Conv1d:
    """Make a convolution over a whole patch the fixed orthogonal code of its mean volume."""
    width, volumes, *kernel = conv.weight.shape
    code = nn.init.orthogonal_(torch.empty(width, math.prod(kernel))).view(width, 1, *kernel)
    with torch.no_grad():
        conv.weight.copy_(code.expand_as(conv.weight) / volumes)
    nn.init.zeros_(conv.bias)
    return conv.requires_grad_(False)


def _whole(conv: nn.Conv3d | nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution whose kernel is as large as its input, as the matrix product that it is.

    (n, channels, x, y, z) -> (n, width); several times faster than the convolution on CPU.
    """
    return F.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)
