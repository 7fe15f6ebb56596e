"""The brain reader: frozen SC-MBM with adaptors, and the readout to K query tokens z_f."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from llm4brain.align.features import blocks, centre, room
from llm4brain.align.readout import Basis
from llm4brain.brain.adaptor import freeze, insert
from llm4brain.brain.pretrain import load_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.io import Arrays, whole


class BrainReader(nn.Module):
    """Windows of BOLD in, query tokens out.

    Args:
        encoder: SC-MBM; frozen here.
        adaptor_width: bottleneck of the adaptors; 0 inserts none.
        basis: components of the video tokens that are read.
        shape: (K, d) of the query tokens.
    """

    def __init__(
        self, encoder: SCMBM, adaptor_width: int, basis: Basis, shape: tuple[int, int]
    ) -> None:
        super().__init__()
        self.encoder = freeze(encoder)
        self.adaptor_width, self.shape, self.basis = adaptor_width, shape, basis
        width = encoder.settings.width
        self.adaptors = (
            insert(encoder.blocks, width, adaptor_width) if adaptor_width else nn.ModuleList()
        )
        self.gain = 1.0
        self.mean = torch.zeros(2 * encoder.pos.shape[0] * width)
        self.weights: dict[str, Tensor] = {}

    def features(self, windows: Tensor) -> Tensor:
        """What the readout is linear in: (batch, T, voxels) -> (batch, 2 * patches * width).

        The tokens in two parts, as yet uncentred: their linear patch code, on which the readout
        is ridge on the mean volume, and `gain` times what SC-MBM and adaptors add to it. A ridge
        on the sum would have to take both at one size, and what is added is mostly noise; apart,
        a gain chosen on validation takes from it what helps.
        """
        code = self.encoder.code(windows)
        if self.gain == 0:  # nothing of it would be left
            return torch.cat([code.flatten(1), torch.zeros_like(code).flatten(1)], dim=1)
        added = self.encoder.added(windows)
        return torch.cat([code.flatten(1), self.gain * added.flatten(1)], dim=1)

    @torch.no_grad()
    def all_features(self, windows: np.ndarray, batch: int = 64) -> np.ndarray:
        """(n, T, voxels) -> (n, 2 * patches * width) float32, in full precision.

        On disk, where they are too large for memory (`align.features.room`).
        """
        device = next(self.encoder.parameters()).device
        out = room(len(windows), len(self.mean))
        for i in range(0, len(windows), batch):
            part = torch.from_numpy(windows[i : i + batch]).to(device)
            with torch.autocast(device.type, enabled=False):  # wherever it is called from
                out[i : i + batch] = self.features(part).cpu().numpy()
        return out

    def components(self, windows: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """(n, T, voxels), (n,) -> (n, rank); a subject never seen is read by what is shared."""
        out = np.empty((len(windows), len(self.basis.axes)), dtype=np.float32)
        for part in blocks(len(self.mean), len(windows)):
            centred = self.all_features(windows[part])
            centre(centred, self.mean.numpy())
            for subject in np.unique(subjects[part]):
                rows = subjects[part] == subject
                weight = self.weights.get(subject, self.weights["shared"])
                out[part][rows] = centred[rows] @ weight.numpy()
        return out

    def query_tokens(self, components: np.ndarray) -> np.ndarray:
        """(n, rank) -> z_f (n, K, d) float32."""
        flat = self.basis.write(components.astype(np.float32)).astype(np.float32)
        return flat.reshape(len(components), *self.shape)

    def save(self, path: Path, grid: Arrays, extra: dict[str, np.ndarray], meta: dict[str, Any]):
        """Write everything that reading needs, and `extra` arrays, to one safetensors file."""
        tensors = {f"scmbm.{k}": v for k, v in self.encoder_state().items()}
        tensors |= {f"adaptors.{k}": v for k, v in self.adaptors.state_dict().items()}
        tensors |= {f"weights.{k}": v for k, v in self.weights.items()} | {"mean": self.mean}
        arrays = (
            {name: grid[name] for name in grid.names if name.startswith("grid.")}
            | {
                "basis.mean": self.basis.mean,
                "basis.axes": self.basis.axes,
                "basis.scale": self.basis.scale,
            }
            | extra
        )
        tensors |= {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
        header = meta | {
            "encoder": self.encoder.settings.model_dump(mode="json"),
            "volumes": self.encoder.tokenizer.volumes,
            "adaptor_width": self.adaptor_width,
            "shape": list(self.shape),
            "gain": self.gain,
        }
        with whole(path) as partial:
            flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            save_file(flat, partial, {"meta": json.dumps(header, sort_keys=True)})

    def encoder_state(self) -> dict[str, Tensor]:
        """The frozen encoder's own weights, without the adaptors hooked behind its blocks."""
        return self.encoder.state_dict()

    @classmethod
    def load(cls, arrays: Arrays) -> BrainReader:
        """From a file of `save`."""
        basis = Basis(arrays["basis.mean"], arrays["basis.axes"], arrays["basis.scale"])
        meta = arrays.meta
        reader = cls(load_encoder(arrays), meta["adaptor_width"], basis, tuple(meta["shape"]))
        state = {
            n.removeprefix("adaptors."): torch.from_numpy(arrays[n])
            for n in arrays.names
            if n.startswith("adaptors.")
        }
        reader.adaptors.load_state_dict(state)
        reader.gain = meta["gain"]
        reader.mean = torch.from_numpy(arrays["mean"])
        reader.weights = {
            n.removeprefix("weights."): torch.from_numpy(arrays[n])
            for n in arrays.names
            if n.startswith("weights.")
        }
        return reader.eval()
