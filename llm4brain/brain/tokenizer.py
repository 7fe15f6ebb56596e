"""Tokenizers: windows of BOLD volumes to one token a patch of brain."""

from __future__ import annotations

import numpy as np
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
        patch, cell = np.nonzero(grid.inside)
        slot = np.empty(grid.index.max() + 1, dtype=np.int64)
        slot[grid.index[patch, cell]] = patch * grid.index.shape[1] + cell
        self.register_buffer("slot", torch.as_tensor(slot), persistent=False)

    def patches(self, windows: Tensor) -> Tensor:
        """(batch, T, voxels) -> (batch, patches, T * cells); zero in empty cells."""
        padded = F.pad(windows, (0, 1))  # index -1 reads the zero appended here
        cells = padded[:, :, self.index]  # (batch, T, patches, cells)
        return cells.transpose(1, 2).flatten(2)

    def volumes_of(self, patches: Tensor) -> Tensor:
        """The way back: (batch, patches, T * cells) -> (batch, T, voxels)."""
        cells = patches.view(len(patches), len(self.index), self.volumes, -1).transpose(1, 2)
        return cells.reshape(len(patches), self.volumes, -1)[:, :, self.slot]

    @property
    def counted(self) -> Tensor:
        """(patches, values) bool: what counts in the loss of masked modelling."""
        return self.inside.repeat(1, self.values // self.inside.shape[1])


class Tokenizer3D(Tokenizer):
    """A 3D CNN over cubes of voxels, its volumes in time as channels, beside a linear embedding.

    The kernel spans the cubes that touch a token's own. Of those only visible ones count, or masked
    modelling would be a copy.

    Args:
        grid: the patches.
        volumes: volumes in a window (T).
        width: of a token. Far wider than what a patch holds: the sparse coding of SC-MBM.
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
    """A 3D convolution over cubes: what the cubes around one say of it.

    One kernel for all places, linear beside a hidden layer. Cubes that are masked, or outside the
    brain, count as nothing and are told apart from zeros.

    Args:
        grid: cubes.
        values: numbers in a cube.
        outputs: numbers that are said of a cube.
        hidden: units of the nonlinear part.
    """

    def __init__(self, grid: PatchGrid, values: int, outputs: int, hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("around", torch.as_tensor(grid.neighbours), persistent=False)
        inputs = self.around.shape[1] * (values + 1)
        self.straight = nn.Linear(inputs, outputs)
        self.down, self.up = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, patches: Tensor, seen: Tensor, wanted: Tensor) -> Tensor:
        """Of the wanted cubes, what the visible ones around them say.

        Args:
            patches: (batch, patches, values); those not seen are not read.
            seen: (batch, patches) 1 where a patch is visible, else 0.
            wanted: (batch, m) indices of patches.

        Returns:
            (batch, m, outputs).
        """
        given = torch.cat([patches * seen[:, :, None], seen[:, :, None]], dim=2)
        given = F.pad(given, (0, 0, 0, 1))  # -1 reads the zero appended here
        rows = torch.arange(len(given), device=given.device)[:, None, None]
        near = given[rows, self.around[wanted]].flatten(2)  # (batch, m, 26 * (values + 1))
        return self.straight(near) + self.up(F.gelu(self.down(near)))


class TokenizerSurface(Tokenizer):
    """Patches of grayordinates, which have no edges: one hidden layer in place of the 3D CNN.

    Args:
        grid: the patches.
        volumes: volumes in a window (T).
        width: of a token.
        hidden: units that look at a whole patch, all its volumes apart.
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
