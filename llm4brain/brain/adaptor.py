"""Nonlinear adaptors: the only thing that is fine-tuned in a frozen network.

    h <- h + s * W_up gelu(W_down LN(h)),   W_up = 0 at the start            (equation 2)

so the frozen network is unchanged at step 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Adaptor(nn.Module):
    """One adaptor for tokens of `width`, with a bottleneck.

    Args:
        width: of a token.
        bottleneck: of the adaptor.
        scale: s above.
    """

    def __init__(self, width: int, bottleneck: int, scale: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.scale = scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        h32 = h.to(self.norm.weight.dtype)
        return h + (self.scale * self.up(F.gelu(self.down(self.norm(h32))))).to(h.dtype)


def freeze(module: nn.Module) -> nn.Module:
    """Stop gradients to all parameters and switch dropout off for good."""
    module.requires_grad_(False)
    return module.eval()


def insert(layers: nn.ModuleList, width: int, bottleneck: int) -> nn.ModuleList:
    """Put an adaptor behind each of a frozen network's layers.

    Args:
        layers: whose output is a tensor of tokens, or a tuple that begins with one (as the
            layers of a Hugging Face Q-Former give).

    Returns:
        The adaptors, in order; `remove` takes them out again.
    """
    adaptors = nn.ModuleList()
    for layer in layers:
        adaptor = Adaptor(width, bottleneck).to(next(layer.parameters()).device)

        def behind(_module: nn.Module, _args: object, output: object, adaptor=adaptor) -> object:
            if isinstance(output, tuple):
                return (adaptor(output[0]), *output[1:])
            return adaptor(output)

        adaptor.hook = layer.register_forward_hook(behind)
        adaptors.append(adaptor)
    return adaptors


def remove(adaptors: nn.ModuleList) -> None:
    """Take inserted adaptors out; the frozen network is what it was."""
    for adaptor in adaptors:
        adaptor.hook.remove()


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
