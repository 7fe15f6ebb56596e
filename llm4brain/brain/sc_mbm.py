"""SC-MBM: sparse-coded masked brain modelling (MinD-Vis, Chen et al. 2023) on 3D patches.

    l(s) = L_h (L_v' L_v + s I)^-1 L_v' x_v                                  (equation 1)
    x^ = l(s) + sum_j m_j (l(s_j) - l(s)) + c(x_v - l_v) + |x_v| f(x_v / |x_v|)
    L_mbm = mean over masked patches of ||x_p - x^_p||^2

The linear path l is the closed-form masked model (`brain/masked_linear.py`). Training starts there
and learns the residual with three terms. m, two numbers per patch, mixes in the linear path at
other noise levels s_j, and so sets the weight of small components locally. c is a 3D convolution
over the cubes around a hidden one: neighbours covary in the same way everywhere, whereas a
covariance of all pairs has to learn this for each pair. f is the masked autoencoder, whose encoder
sees only the visible tokens. m and f are computed from the decoder's tokens. Blocks use timm's
names (`norm1`, `attn.qkv`, ...), as MinD-Vis checkpoints do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4brain.activation_checkpointing import checkpoint_activations
from llm4brain.brain.masked_linear import from_visible
from llm4brain.brain.positions import PatchGrid
from llm4brain.brain.tokenizer import Surround, Tokenizer, Tokenizer3D, TokenizerSurface
from llm4brain.sections import EncoderSettings

NOISES = (1.0, 0.25, 4.0)  # noise levels of the linear path, relative to s; the first is s itself


@dataclass
class MaskedModelOutput:
    """Output of `SCMBM`, as in the masked autoencoders of transformers.

    Attributes:
        loss: mean squared error over brain cells of masked patches.
        pred: (batch, patches, values); visible patches are copied from the input.
        mask: (batch, patches) bool, True for masked patches.
    """

    loss: Tensor
    pred: Tensor
    mask: Tensor


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
        # Not fused: the fused kernel's backward pass is several times slower on CPU at these sizes.
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
    """The linear path and the masked autoencoder: tokenizer, encoder, decoder.

    Args:
        settings: sizes.
        grid: patches of the shared MNI grid, or of grayordinates.
        volumes: number of volumes in a window (T).
    """

    def __init__(self, settings: EncoderSettings, grid: PatchGrid, volumes: int) -> None:
        super().__init__()
        s = settings
        self.settings = s
        self.tokenizer = self.new_tokenizer(grid, volumes)
        self.blocks = nn.ModuleList(
            self.block(s.embed_dim, s.num_heads, s.mlp_ratio) for _ in range(s.depth)
        )
        self.norm = nn.LayerNorm(s.embed_dim)
        self.register_buffer("pos", torch.as_tensor(grid.codes(s.embed_dim)), False)

        self.decoder_embed = nn.Linear(s.embed_dim, s.decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(s.decoder_embed_dim))
        self.decoder_blocks = nn.ModuleList(
            self.block(s.decoder_embed_dim, max(1, s.decoder_embed_dim // 32), s.mlp_ratio)
            for _ in range(s.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(s.decoder_embed_dim)
        self.decoder_pred = nn.Linear(s.decoder_embed_dim, self.tokenizer.values)
        self.register_buffer("decoder_pos", torch.as_tensor(grid.codes(s.decoder_embed_dim)), False)
        # (patches, values): cells outside the brain are excluded from the loss
        self.register_buffer("cells", self.tokenizer.counted, False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(
            self.decoder_pred.weight
        )  # f = 0 and c = 0: training starts at the linear path
        # m = 0: weight of the linear path at other noise levels, for each patch
        self.mix = nn.Linear(s.decoder_embed_dim, len(NOISES) - 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        self.surround = None
        if grid.cube is not None and s.tokenizer != "patch1d":
            self.surround = Surround(grid, self.tokenizer.values, self.tokenizer.values)
            for layer in (self.surround.straight, self.surround.up):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        # scale of the decoder's output: a checkpoint's decoder predicts x, not the residual
        self.share = nn.Parameter(torch.ones(()))

        positions = int(grid.index.max()) + 1
        self.register_buffer("loading", torch.zeros(positions, 0))
        self.register_buffer("noise", torch.ones(()))
        self.register_buffer("patch_of", torch.as_tensor(grid.patch_of), False)
        self.register_buffer("turns", torch.as_tensor(grid.turns), False)
        self._grams: Tensor | None = None
        self._reads: dict[int, Tensor] = {}
        if s.gradient_checkpointing:
            checkpoint_activations([*self.blocks, *self.decoder_blocks])

    def new_tokenizer(self, grid: PatchGrid, volumes: int) -> Tokenizer:
        """The 3D CNN for cubes, or the tokenizer for patches of grayordinates."""
        kind = TokenizerSurface if grid.edge is None else Tokenizer3D
        return kind(grid, volumes, self.settings.embed_dim)

    def block(self, width: int, heads: int, mlp_ratio: float) -> nn.Module:
        """One block of the encoder or the decoder."""
        return Block(width, heads, mlp_ratio)

    def set_linear(self, loading: Tensor, noise: float) -> None:
        """Set L (positions, k) and s of the linear path; with k = 0 it predicts zero."""
        self.loading = loading.to(self.pos.device)
        self.noise = torch.tensor(float(noise), device=self.pos.device)
        self._grams, self._reads = None, {}

    # -- the linear path

    def linear(self, windows: Tensor, visible: Tensor) -> Tensor:
        """x^ of the linear path at all positions.

        Args:
            windows: (batch, T, positions).
            visible: (batch, n) indices of visible patches.
        """
        return self.linear_at_noises(windows, visible)[0]

    def linear_at_noises(self, windows: Tensor, visible: Tensor) -> Tensor:
        """The linear path at all `NOISES`: (noises, batch, T, positions)."""
        k = self.loading.shape[1]
        if k == 0:
            return torch.zeros_like(windows).expand(len(NOISES), -1, -1, -1)
        patches = len(self.turns)  # tokens are ordered by volume, then by patch
        seen = windows.new_zeros(len(windows), patches).scatter_(1, visible % patches, 1.0)
        # L_v' L_v is a sum over visible patches
        inner = (seen @ self._gram_of_patches().flatten(1)).view(-1, k, k)
        scores = ((windows * seen[:, None, self.patch_of]) @ self.loading).transpose(1, 2)
        eye = torch.eye(k, device=inner.device)
        # Cholesky, since MKL's batched LU fails with several threads
        factors = [torch.linalg.cholesky(inner + r * self.noise * eye) for r in NOISES]
        read = [torch.cholesky_solve(scores, factor) for factor in factors]
        return torch.stack(read).transpose(2, 3) @ self.loading.T

    def _gram_of_patches(self) -> Tensor:
        """(patches, k, k): L_p' L_p of each patch."""
        if self._grams is None or self._grams.device != self.loading.device:
            parts = [self.loading[self.patch_of == p] for p in range(len(self.turns))]
            self._grams = torch.stack([part.T @ part for part in parts])
        return self._grams

    def _linear_in_turn(self, windows: Tensor, turn: int) -> Tensor:
        """The linear path at all `NOISES` with the patches of one group hidden."""
        if self.loading.shape[1] == 0:
            return torch.zeros_like(windows).expand(len(NOISES), -1, -1, -1)
        if turn not in self._reads or self._reads[turn].device != windows.device:
            seen = self.turns[self.patch_of] != turn
            read = [from_visible(self.loading, r * self.noise, seen) for r in NOISES]
            self._reads[turn] = torch.stack(read)
        flat, reads = windows.flatten(0, 1), self._reads[turn]
        # other noise levels are needed only if the network uses them
        found = [(flat @ read.T) @ self.loading.T for read in (reads if self.learns else reads[:1])]
        return torch.stack(found).view(len(found), *windows.shape)

    # -- the masked autoencoder

    def draw_masks(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """(batch, visible) random indices of the patches that stay visible."""
        patches = self.pos.shape[0]
        visible = min(max(1, round(patches * (1 - self.settings.mask_ratio))), patches - 1)
        noise = torch.rand(batch, patches, generator=generator)
        return noise.argsort(1)[:, :visible].sort(1).values.to(self.pos.device)

    def tokens_of(self, visible: Tensor) -> Tensor:
        """(patches,) bool -> indices of the tokens of these patches."""
        return torch.nonzero(visible)[:, 0]

    def tokens(self, windows: Tensor) -> Tensor:
        """All tokens of unmasked windows (batch, T, positions): -> (batch, tokens, width)."""
        patches = self.tokenizer.patches(windows)
        every = torch.arange(patches.shape[1], device=patches.device).expand(len(patches), -1)
        x = self.tokenizer.tokens(patches, every) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def encode_visible(self, patches: Tensor, visible: Tensor) -> Tensor:
        """(batch, patches, cells), (batch, visible) -> (batch, visible, width)."""
        x = self.tokenizer.tokens(patches, visible) + self.pos[visible]
        for block in self.blocks:
            x = block(x)
        return x

    def decode(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Decoder tokens of all patches: -> (batch, patches, decoder_width)."""
        batch, patches = len(encoded), self.pos.shape[0]
        known = self.decoder_embed(self.norm(encoded))
        x = self.mask_token.to(known.dtype).expand(batch, patches, -1)
        x = x.scatter(1, visible[:, :, None].expand(-1, -1, known.shape[2]), known)
        x = x + self.decoder_pos
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)

    def predict(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Decoder output for all patches, from the visible ones: -> (batch, patches, cells)."""
        return self.share * self.decoder_pred(self.decode(encoded, visible))

    def learned(self, patches: Tensor, visible: Tensor, linear: Tensor) -> Tensor:
        """The masked autoencoder's contribution to the prediction, at all patches.

        Volumes differ in amplitude (a mean over showings is smaller than a single one), so the
        input is scaled to unit RMS and the output is scaled back.

        Args:
            patches: (batch, patches, values).
            visible: (batch, n) indices of visible patches.
            linear: (noises, batch, patches, values) of the linear path.
        """
        seen = patches.gather(1, visible[:, :, None].expand(-1, -1, patches.shape[2]))
        size = seen.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6)
        decoded = self.decode(self.encode_visible(patches / size, visible), visible)
        mixed = torch.einsum("bpm,mbpv->bpv", self.mix(decoded).float(), linear[1:] - linear[0])
        return mixed + size * (self.share * self.decoder_pred(decoded)).float()

    def paths(self, windows: Tensor, linear: Tensor, visible: Tensor, wanted: Tensor) -> Tensor:
        """x^ of some patches, as the sum of all paths.

        Args:
            windows: (batch, T, positions).
            linear: (noises, batch, T, positions) of the linear path.
            visible: (batch, n) indices of visible tokens.
            wanted: (batch, m) indices of tokens to predict, none of them visible.

        Returns:
            (batch, m, values).
        """
        patches, expected = self.tokenizer.patches(windows), self.tokenizer.patches(linear[0])
        pick = wanted[:, :, None].expand(-1, -1, patches.shape[2])
        found = expected.gather(1, pick)
        if self.surround is not None:
            seen = patches.new_zeros(patches.shape[:2]).scatter_(1, visible, 1.0)
            found = found + self.surround(patches - expected, seen, wanted).float()
        if self.learns:
            others = [self.tokenizer.patches(path) for path in linear[1:]]
            at_noises = torch.stack([expected, *others])
            found = found + self.learned(patches, visible, at_noises).gather(1, pick)
        return found

    def forward(self, windows: Tensor, visible: Tensor | None = None) -> MaskedModelOutput:
        """Predict masked patches from visible ones.

        Args:
            windows: (batch, T, positions).
            visible: (batch, n) indices of visible patches; None draws them by `mask_ratio`.
        """
        if visible is None:
            visible = self.draw_masks(len(windows))
        with torch.autocast(windows.device.type, enabled=False):
            linear = self.linear_at_noises(windows.float(), visible)
        patches = self.tokenizer.patches(windows)
        masked = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        masked.scatter_(1, visible, False)
        hidden = torch.nonzero(masked)[:, 1].view(len(windows), -1)
        found = self.paths(windows, linear, visible, hidden)
        pick = hidden[:, :, None].expand(-1, -1, patches.shape[2])
        counted = self.cells[hidden]
        loss = F.mse_loss(found[counted], patches.gather(1, pick)[counted])
        pred = patches.to(found.dtype).scatter(1, pick, found)
        return MaskedModelOutput(loss, pred, masked)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> SCMBM:
        """Load the encoder of `pretrain.safetensors`, or of a later stage's file, for evaluation.

        Examples:
            >>> model = SCMBM.from_pretrained("models/full/all/pretrain.safetensors")
            ... # doctest: +SKIP
        """
        from llm4brain.brain.pretrain import load_encoder
        from llm4brain.io import Arrays

        return load_encoder(Arrays(Path(path))).eval()

    # -- prediction

    @property
    def learns(self) -> bool:
        """Whether the masked autoencoder is used: in training, or if its output is not 0."""
        says = bool(self.share != 0) and bool(self.decoder_pred.weight.any())
        return self.training or says or bool(self.mix.weight.any())

    def predictable(self, windows: Tensor, learned: bool = True) -> Tensor:
        """x^ with the patches hidden in groups: each is predicted once, from the other patches.

        Args:
            windows: (batch, T, positions).
            learned: whether to add the learned terms to the linear path.

        Returns:
            (batch, T, positions).
        """
        out, batch = torch.zeros_like(windows), len(windows)
        for turn in self.turns.unique().tolist():
            hidden = self.turns == turn
            linear = self._linear_in_turn(windows, turn)
            found = linear[0]
            if learned:
                visible = self.tokens_of(~hidden).expand(batch, -1)
                wanted = self.tokens_of(hidden).expand(batch, -1)
                predicted = self.paths(windows, linear, visible, wanted)
                whole = predicted.new_zeros(batch, len(self.cells), predicted.shape[2])
                whole.scatter_(1, wanted[:, :, None].expand_as(predicted), predicted)
                found = self.tokenizer.volumes_of(whole)
            where = hidden[self.patch_of]
            out[:, :, where] = found[:, :, where]
        return out
