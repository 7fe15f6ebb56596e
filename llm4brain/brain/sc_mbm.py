"""SC-MBM: sparse-coded masked brain modelling (MinD-Vis, Chen et al. 2023) on 3D patches.

    L_mbm = mean over masked patches of ||x_p - x^_p||^2                     (equation 1)

The encoder sees the visible tokens alone. Blocks carry timm's names (`norm1`, `attn.qkv`,
...), as MinD-Vis checkpoints do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.brain.positions import PatchGrid
from llm4brain.brain.tokenizer import Tokenizer, Tokenizer3D, TokenizerSurface
from llm4brain.recompute import recompute
from llm4brain.sections import EncoderSettings


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        # -> 3 x (batch, heads, tokens, width / heads)
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Written out: the fused kernel's backward is several times slower on CPU at these sizes.
        h = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype) @ v
        return self.proj(h.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: x + attn(LN(x)), then x + mlp(LN(x))."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SCMBM(nn.Module):
    """Tokenizer, encoder and the small decoder that masked pretraining needs.

    Args:
        settings: sizes.
        grid: patches of the shared MNI grid, or of grayordinates.
        volumes: volumes in a window.
    """

    def __init__(self, settings: EncoderSettings, grid: PatchGrid, volumes: int) -> None:
        super().__init__()
        s = settings
        self.settings = s
        self.tokenizer = self.new_tokenizer(grid, volumes)
        self.blocks = nn.ModuleList(
            self.block(s.width, s.heads, s.mlp_ratio) for _ in range(s.blocks)
        )
        self.norm = nn.LayerNorm(s.width)
        self.register_buffer("pos", torch.as_tensor(grid.codes(s.width)), False)

        self.decoder_embed = nn.Linear(s.width, s.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(s.decoder_width))
        self.decoder_blocks = nn.ModuleList(
            self.block(s.decoder_width, max(1, s.decoder_width // 32), s.mlp_ratio)
            for _ in range(s.decoder_blocks)
        )
        self.decoder_norm = nn.LayerNorm(s.decoder_width)
        self.decoder_pred = nn.Linear(s.decoder_width, self.tokenizer.values)
        self.register_buffer("decoder_pos", torch.as_tensor(grid.codes(s.decoder_width)), False)
        # (patches, values): cells outside the brain count in no loss
        self.register_buffer("cells", self.tokenizer.counted, False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # what a block adds starts small beside the token's own code
            nn.init.trunc_normal_(block.attn.proj.weight, std=0.02)
            nn.init.trunc_normal_(block.mlp.fc2.weight, std=0.02)
        if s.gradient_checkpointing:
            recompute([*self.blocks, *self.decoder_blocks])

    def new_tokenizer(self, grid: PatchGrid, volumes: int) -> Tokenizer:
        """The 3D CNN for cubes, its sibling for patches of grayordinates."""
        kind = TokenizerSurface if grid.edge is None else Tokenizer3D
        return kind(grid, volumes, self.settings.width)

    def block(self, width: int, heads: int, mlp_ratio: float) -> nn.Module:
        """One block of the encoder or the decoder."""
        return Block(width, heads, mlp_ratio)

    def tokens(self, windows: Tensor) -> Tensor:
        """All tokens of unmasked windows.

        Args:
            windows: (batch, T, voxels), z-scored BOLD.

        Returns:
            (batch, patches, width): the residual stream behind the last block. The final
            LayerNorm is left to the decoder of masked modelling: it divides a token by its own
            size, and with it the amplitude that a linear readout reads.
        """
        x = self.tokenizer(self.tokenizer.patches(windows)) + self.pos
        for block in self.blocks:
            x = block(x)
        return x

    def code(self, windows: Tensor) -> Tensor:
        """The linear patch code of windows (batch, T, voxels): -> (batch, patches, width)."""
        return self.tokenizer.code(self.tokenizer.patches(windows))

    def added(self, windows: Tensor) -> Tensor:
        """What the network adds to the patch code: -> (batch, patches, width)."""
        return self.tokens(windows) - self.code(windows)

    def draw_masks(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """(batch, visible) indices of the patches that stay visible, drawn anew each time."""
        patches = self.pos.shape[0]
        visible = max(1, round(patches * (1 - self.settings.mask_ratio)))
        noise = torch.rand(batch, patches, generator=generator)
        return noise.argsort(1)[:, :visible].sort(1).values.to(self.pos.device)

    def encode_visible(self, patches: Tensor, visible: Tensor) -> Tensor:
        """(batch, patches, cells), (batch, visible) -> (batch, visible, width)."""
        own = patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2]))
        x = self.tokenizer(own) + self.pos[visible]
        for block in self.blocks:
            x = block(x)
        return x

    def predict(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Decode all patches from the visible ones: -> (batch, patches, cells)."""
        batch, patches = len(encoded), self.pos.shape[0]
        known = self.decoder_embed(self.norm(encoded))
        x = self.mask_token.to(known.dtype).expand(batch, patches, -1)
        x = x.scatter(1, visible[:, :, None].expand(-1, -1, known.shape[2]), known)
        x = x + self.decoder_pos
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))

    def masked_loss(self, windows: Tensor, visible: Tensor) -> Tensor:
        """L_mbm of windows (batch, T, voxels): masked patches alone, brain cells alone."""
        patches = self.tokenizer.patches(windows)
        predicted = self.predict(self.encode_visible(patches, visible), visible)
        masked = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        masked.scatter_(1, visible, False)
        counted = masked[:, :, None] & self.cells
        return F.mse_loss(predicted.float()[counted], patches[counted])
