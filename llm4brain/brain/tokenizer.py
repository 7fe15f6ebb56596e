"""Tokenizers: from windows of BOLD volumes to one token per brain patch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid


class Tokenizer(nn.Module):
    """Base class of tokenizers: cuts a window into patches.

    Attributes:
        volumes: number of volumes in a window (T).
        index: (patches, cells) of the grid.
        inside: (patches, cells) bool, cells whose voxel counts in a loss.
        values: number of values that masked modelling predicts per token.
    """

    def __init__(self, grid: PatchGrid, volumes: int) -> None:
        super().__init__()
        self.volumes, self.values = volumes, volumes * grid.index.shape[1]
        self.register_buffer("index", torch.as_tensor(grid.index), persistent=False)
        self.register_buffer("inside", torch.as_tensor(grid.inside), persistent=False)
        patch, cell = np.nonzero(grid.inside)
        slot = np.empty(grid.index.max() + 1, dtype=np.int64)
        slot[grid.index[patch, cell]] = patch * grid.index.shape[1] + cell
        self.register_buffer("slot", torch.as_tensor(slot), persistent=False)

    def patches(self, windows: Tensor) -> Tensor:
        """(batch, T, voxels) -> (batch, patches, T * cells); zero in empty cells."""
        padded = F.pad(windows, (0, 1))  # index -1 selects the zero appended here
        cells = padded[:, :, self.index]  # (batch, T, patches, cells)
        return cells.transpose(1, 2).flatten(2)

    def volumes_of(self, patches: Tensor) -> Tensor:
        """Inverse of `patches`: (batch, patches, T * cells) -> (batch, T, voxels)."""
        cells = patches.view(len(patches), len(self.index), self.volumes, -1).transpose(1, 2)
        return cells.reshape(len(patches), self.volumes, -1)[:, :, self.slot]

    @property
    def counted(self) -> Tensor:
        """(patches, values) bool: values that count in the masked-modelling loss."""
        return self.inside.repeat(1, self.values // self.inside.shape[1])


class Tokenizer3D(Tokenizer):
    """A 3D CNN over cubes of voxels, with the volumes as channels, plus a linear embedding.

    The kernel spans the cubes that touch a token's own cube. Only visible cubes enter it; otherwise
    the masked values would leak into the input.

    Args:
        grid: the patches.
        volumes: number of volumes in a window (T).
        width: of a token; much larger than the number of values in a patch: the sparse coding of
            SC-MBM.
        channels: of the CNN.
    """

    def __init__(self, grid: PatchGrid, volumes: int, width: int, channels: int = 64) -> None:
        super().__init__(grid, volumes)
        self.embed = nn.Linear(self.values, width)
        self.surround = Surround(grid, self.values, width, channels)

    def tokens(self, patches: Tensor, visible: Tensor) -> Tensor:
        """(batch, patches, T * edge**3), (batch, n) visible ones -> (batch, n, width)."""
        own = patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2]))
        seen = patches.new_zeros(patches.shape[:2]).scatter_(1, visible, 1.0)
        return self.embed(own) + self.surround(patches, seen, visible)


class Surround(nn.Module):
    """A 3D convolution over cubes: predicts values of a cube from the cubes around it.

    One kernel for all locations: a linear layer plus a hidden layer. Cubes that are masked or
    outside the brain are set to zero, with an indicator that distinguishes them from true zeros.

    Args:
        grid: cubes.
        values: number of values in a cube.
        outputs: number of outputs per cube.
        hidden: units of the nonlinear part.
    """

    def __init__(self, grid: PatchGrid, values: int, outputs: int, hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("around", torch.as_tensor(grid.neighbours), persistent=False)
        inputs = self.around.shape[1] * (values + 1)
        self.straight = nn.Linear(inputs, outputs)
        self.down, self.up = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, patches: Tensor, seen: Tensor, wanted: Tensor) -> Tensor:
        """Outputs for the wanted cubes, from the visible cubes around them.

        Args:
            patches: (batch, patches, values); invisible patches are ignored.
            seen: (batch, patches) 1 where a patch is visible, else 0.
            wanted: (batch, m) indices of patches.

        Returns:
            (batch, m, outputs).
        """
        given = torch.cat([patches * seen[:, :, None], seen[:, :, None]], dim=2)
        given = F.pad(given, (0, 0, 0, 1))  # -1 selects the zero appended here
        rows = torch.arange(len(given), device=given.device)[:, None, None]
        near = given[rows, self.around[wanted]].flatten(2)  # (batch, m, 26 * (values + 1))
        return self.straight(near) + self.up(F.gelu(self.down(near)))


class TokenizerSurface(Tokenizer):
    """Tokenizer for patches of grayordinates: a hidden layer replaces the 3D CNN of cubes.

    Args:
        grid: the patches.
        volumes: number of volumes in a window (T).
        width: of a token.
        hidden: units of the hidden layer, whose input is a whole patch at all volumes.
    """

    def __init__(self, grid: PatchGrid, volumes: int, width: int, hidden: int = 64) -> None:
        super().__init__(grid, volumes)
        self.embed = nn.Linear(self.values, width)
        self.hidden = nn.Linear(self.values, hidden)
        self.out = nn.Linear(hidden, width)

    def tokens(self, patches: Tensor, visible: Tensor) -> Tensor:
        """(batch, patches, T * cells), (batch, n) visible ones -> (batch, n, width)."""
        own = patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2]))
        return self.embed(own) + self.out(F.gelu(self.hidden(own)))
