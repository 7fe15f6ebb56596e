"""The encoder of MinD-Vis (Chen et al. 2023) and of MinD-Video (Chen et al. 2023) as published.

    x_n = W p_n + b + e_n,   p_n: 16 voxels that follow each other          (patches)
    tokens = LN(block_B(... block_1(x)))                                    (both, unmasked)

e_n are fixed sin-cos codes of n. Masked, the visible tokens alone are seen, with a class token
before them; unmasked there is none, as in their own decoders. MinD-Vis reads one volume (here the
mean of the window's). MinD-Video reads each, and every block attends within a volume and then,
patch by patch, between volumes. Parameters keep their names but for `patch_embed.proj`, which is
`tokenizer.proj`, and `pos_embed`, which is `pos`; `brain/weights.py` loads their checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid
from llm4brain.brain.sc_mbm import SCMBM, Attention, Block, Mlp
from llm4brain.brain.tokenizer import Tokenizer
from llm4brain.sections import EncoderSettings


class Tokenizer1D(Tokenizer):
    """Patches of voxels that follow each other, through one linear layer; a token a volume.

    Args:
        grid: of `positions.runs`.
        volumes: volumes in a window (T).
        width: of a token.
    """

    def __init__(self, grid: PatchGrid, volumes: int, width: int) -> None:
        super().__init__(grid, volumes)
        self.values = grid.index.shape[1]
        self.proj = nn.Conv1d(1, width, self.values, stride=self.values)
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)

    def patches(self, windows: Tensor) -> Tensor:
        """(batch, T, voxels) -> (batch, T * patches, cells), volume after volume."""
        return windows[:, :, self.index].flatten(1, 2)

    def volumes_of(self, patches: Tensor) -> Tensor:
        """The way back: (batch, T * patches, cells) -> (batch, T, voxels)."""
        return patches.view(len(patches), self.volumes, -1)[:, :, self.slot]

    @property
    def counted(self) -> Tensor:
        """(T * patches, cells) bool."""
        return self.inside.repeat(self.volumes, 1)

    def tokens(self, patches: Tensor, visible: Tensor) -> Tensor:
        """(batch, T * patches, cells), (batch, n) visible ones -> (batch, n, width)."""
        own = patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2]))
        return F.linear(own, self.proj.weight[:, 0], self.proj.bias)


class TemporalBlock(nn.Module):
    """MinD-Video's block: attention within each volume, between volumes, then the MLP.

    Args:
        width, heads, mlp_ratio: as of `Block`.
        frames: volumes, whose tokens follow each other.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn_temp = Attention(width, heads)
        self.norm_temp = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames * n, width) -> the same."""
        batch, _, width = x.shape
        x = x.reshape(batch * self.frames, -1, width)
        x = x + self.attn(self.norm1(x))
        # (batch * frames, n, width) -> (batch * n, frames, width)
        x = x.view(batch, self.frames, -1, width).transpose(1, 2).flatten(0, 1)
        x = x + self.attn_temp(self.norm_temp(x))
        x = x.view(batch, -1, self.frames, width).transpose(1, 2).flatten(1, 2)
        return x + self.mlp(self.norm2(x))


class PublishedSCMBM(SCMBM):
    """SC-MBM as MinD-Vis and, with `encoder.temporal`, MinD-Video publish it.

    Args:
        settings: sizes.
        grid: of `positions.runs`.
        volumes: volumes in a window.
    """

    def __init__(self, settings: EncoderSettings, grid: PatchGrid, volumes: int) -> None:
        self.frames = volumes  # 1, unless settings.temporal
        super().__init__(settings, grid, volumes)
        if not settings.temporal:  # MinD-Video has one and never reads it
            self.cls_token = nn.Parameter(torch.zeros(1, 1, settings.embed_dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        for name in ("pos", "decoder_pos"):
            code = getattr(self, name).repeat(self.frames, 1)
            # kept with the weights: a checkpoint may bring positions of its own
            self.register_buffer(name, code)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for block in self.blocks:
            nn.init.xavier_uniform_(block.attn.proj.weight)
            nn.init.xavier_uniform_(block.mlp.fc2.weight)

    def new_tokenizer(self, grid: PatchGrid, volumes: int) -> Tokenizer:
        return Tokenizer1D(grid, volumes, self.settings.embed_dim)

    def block(self, width: int, heads: int, mlp_ratio: float) -> nn.Module:
        if self.settings.temporal:
            return TemporalBlock(width, heads, mlp_ratio, self.frames)
        return Block(width, heads, mlp_ratio)

    def tokens_of(self, visible: Tensor) -> Tensor:
        """A patch is visible in all volumes, or in none."""
        return torch.nonzero(visible.repeat(self.frames))[:, 0]

    def draw_masks(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """(batch, visible) indices of tokens; a patch is visible in all volumes, or in none."""
        patches = len(self.pos) // self.frames
        visible = max(1, int(patches * (1 - self.settings.mask_ratio)))
        noise = torch.rand(batch, patches, generator=generator)
        one = noise.argsort(1)[:, :visible].sort(1).values
        every = [one + patches * frame for frame in range(self.frames)]
        return torch.cat(every, dim=1).to(self.pos.device)

    def encode_visible(self, patches: Tensor, visible: Tensor) -> Tensor:
        """-> (batch, 1 + visible, width), the class token first; without it if temporal."""
        x = self.tokenizer.tokens(patches, visible) + self.pos[visible]
        if not self.settings.temporal:
            x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x

    def decode(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """The decoder's tokens of all patches: -> (batch, frames * patches, decoder_width)."""
        known = self.decoder_embed(self.norm(encoded))
        first = known.shape[1] - visible.shape[1]  # the class token, if there is one
        x = self.mask_token.to(known.dtype).expand(len(known), len(self.pos), -1)
        x = x.scatter(1, visible[:, :, None].expand(-1, -1, known.shape[2]), known[:, first:])
        x = torch.cat([known[:, :first], x + self.decoder_pos], dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)[:, first:]
