"""The adaptor after the frozen SC-MBM: the only gradient-trained module on the fMRI side.

    h <- e^b * (h + s W_up gelu(W_down LN(h) + W_pos p)),   W_up = 0, b = 0 at first (equation 2)

h is a patch of the SC-MBM residual, p the positional code of the patch, and b one number for each
position. At step 0 the adaptor is the identity. It follows the last block instead of sitting inside
the blocks, so the frozen network runs only once for the whole training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid


class PositionAdaptor(nn.Module):
    """Scale each position, and add a nonlinear function of each patch's content and location.

    Args:
        grid: patches of the positions.
        bottleneck: width of the nonlinear part; 0 omits it.
        code: length of the positional code of a patch.
        scale: s above.
    """

    def __init__(
        self, grid: PatchGrid, bottleneck: int = 0, code: int = 48, scale: float = 1.0
    ) -> None:
        super().__init__()
        cells = grid.index.shape[1]
        self.log_weight = nn.Parameter(torch.zeros(int(grid.index.max()) + 1))
        self.bottleneck, self.scale = bottleneck, scale
        if bottleneck:
            self.register_buffer("index", torch.as_tensor(grid.index), persistent=False)
            self.register_buffer("inside", torch.as_tensor(grid.inside), persistent=False)
            self.register_buffer("code", torch.as_tensor(grid.codes(code)), persistent=False)
            self.norm = nn.LayerNorm(cells)
            self.down, self.place = nn.Linear(cells, bottleneck), nn.Linear(code, bottleneck)
            self.up = nn.Linear(bottleneck, cells)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions) -> (batch, positions)."""
        if self.bottleneck:
            h = F.pad(x, (0, 1))[:, self.index]  # (batch, patches, cells); -1 selects the zero
            moved = self.scale * self.up(F.gelu(self.down(self.norm(h)) + self.place(self.code)))
            x = x.index_add(1, self.index[self.inside], moved[:, self.inside])
        return x * self.log_weight.exp()


def freeze(module: nn.Module) -> nn.Module:
    """Freeze all parameters and put the module into evaluation mode."""
    module.requires_grad_(False)
    return module.eval()


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
