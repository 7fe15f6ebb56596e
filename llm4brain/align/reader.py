"""The brain reader: frozen SC-MBM, gate, adaptor, and the readout to K query tokens z_f.

s = x - alpha x^                      the surprise: the part that masked modelling does not predict
f = adaptor(g^power * s)              g: the agreement gate
z_f = (f - mean) W_subject, expanded to K tokens of width d
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from llm4brain.align.basis import Basis
from llm4brain.align.features import allocate, blocks
from llm4brain.align.gate import gate_weights
from llm4brain.brain.adaptor import PositionAdaptor, freeze
from llm4brain.brain.encoder import patch_grid
from llm4brain.brain.pretrain import load_encoder
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.io import Arrays, atomic_write

BATCH = 64  # windows per forward pass of the encoder


class Way(NamedTuple):
    """How one subject's features are computed, where it differs from the reader's own way.

    Attributes:
        alpha, power: as in the reader.
        adapted: whether the adaptor is applied.
        mean: (positions,) mean features of the samples that the weights were fitted to.
    """

    alpha: float
    power: float
    adapted: bool
    mean: Tensor


class BrainReader(nn.Module):
    """Maps windows of BOLD to query tokens.

    Args:
        encoder: SC-MBM; frozen here.
        adaptor: applied to the encoder's output.
        basis: components of the video tokens, the targets of the readout.
        shape: (K, d) of the query tokens.

    Attributes:
        agreement: (positions,) of the gate; ones until a gate is fitted.
        alpha: fraction of the predictable part that is subtracted.
        power: exponent of the gate.
        mean: (positions,) mean features of the train samples.
        weights: subject -> (positions, rank); `shared` is used for unknown subjects.
        ways: subject -> way, for subjects whose features are computed differently.
    """

    def __init__(
        self, encoder: SCMBM, adaptor: PositionAdaptor, basis: Basis, shape: tuple[int, int]
    ) -> None:
        super().__init__()
        self.encoder, self.adaptor = freeze(encoder), adaptor
        self.basis, self.shape = basis, shape
        positions = len(encoder.loading)
        self.agreement = np.ones(positions, dtype=np.float32)
        self.alpha, self.power = 0.0, 0.0
        self.mean = torch.zeros(positions)
        self.weights: dict[str, Tensor] = {}
        self.ways: dict[str, Way] = {}

    @property
    def volumes(self) -> int:
        """Volumes per window that the encoder distinguishes; if 1, it gets the window's mean."""
        return self.encoder.tokenizer.volumes

    @torch.no_grad()
    def frozen(
        self, windows: np.ndarray, predict: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Output of the frozen encoder for windows (n, T, positions).

        Returns:
            Mean volumes, and the part of them that is predicted from the other patches, both
            (n, positions) float32, on disk if too large for memory. The second is None if `predict`
            is False.
        """
        device = self.encoder.pos.device
        mean = allocate(len(windows), windows.shape[2])
        predictable = allocate(*mean.shape) if predict else None
        for i in range(0, len(windows), BATCH):
            part = torch.from_numpy(np.asarray(windows[i : i + BATCH], np.float32)).to(device)
            mean[i : i + BATCH] = part.mean(1).cpu().numpy()
            if predict:
                seen = part if self.volumes > 1 else part.mean(1, keepdim=True)
                with torch.autocast(device.type, enabled=False):  # whatever the caller set
                    found = self.encoder.predictable(seen)
                predictable[i : i + BATCH] = found.mean(1).cpu().numpy()
        return mean, predictable

    def features(
        self,
        mean: Tensor,
        predictable: Tensor | None,
        alpha: float | None = None,
        power: float | None = None,
        agreement: np.ndarray | None = None,
        adapted: bool = True,
    ) -> Tensor:
        """Input to the readout, before centring: two arrays (n, positions) -> (n, positions).

        Args:
            mean, predictable: from `frozen`.
            alpha, power, agreement: override the reader's own values.
            adapted: apply the adaptor.
        """
        alpha = self.alpha if alpha is None else alpha
        power = self.power if power is None else power
        gate = gate_weights(self.agreement if agreement is None else agreement, power)
        surprise = mean if alpha == 0 else mean - alpha * predictable
        gated = surprise * torch.from_numpy(gate).to(mean.device)
        return self.adaptor(gated) if adapted else gated

    @torch.no_grad()
    def all_features(
        self, mean: np.ndarray, predictable: np.ndarray | None, *given: object
    ) -> np.ndarray:
        """`features` of many samples, (n, positions) float32; on disk if too large for memory."""
        out = allocate(*mean.shape)
        device = self.adaptor.log_weight.device
        for part in blocks(mean.shape[1], len(mean)):
            rows = (None if x is None else _tensor(x[part], device) for x in (mean, predictable))
            out[part] = self.features(*rows, *given).cpu().numpy()
        return out

    def centred(self, windows: np.ndarray, subject: str) -> tuple[np.ndarray, np.ndarray]:
        """Centred features of a subject's windows, and the readout weights for them.

        Args:
            windows: (n, T, positions).
            subject: label; for an unknown subject, the shared weights are used.

        Returns:
            (n, positions) and (positions, rank), float32.
        """
        name = subject if subject in self.weights else "shared"
        way = self.ways.get(name, Way(self.alpha, self.power, True, self.mean))
        given = (way.alpha, way.power, None, way.adapted)
        found = self.all_features(*self.frozen(windows, predict=way.alpha != 0), *given)
        found -= way.mean.cpu().numpy()
        return found, self.weights[name].cpu().numpy()

    def components(self, windows: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """(n, T, positions), (n,) -> (n, rank); unknown subjects get the shared weights."""
        out = np.empty((len(windows), len(self.basis.axes)), dtype=np.float32)
        for subject in np.unique(subjects):
            rows = np.flatnonzero(subjects == subject)
            for part in blocks(windows.shape[2], len(rows)):
                features, weight = self.centred(windows[rows[part]], subject)
                out[rows[part]] = features @ weight
        return out

    def query_tokens(self, components: np.ndarray) -> np.ndarray:
        """(n, rank) -> z_f (n, K, d) float32."""
        flat = self.basis.write(components.astype(np.float32)).astype(np.float32)
        return flat.reshape(len(components), *self.shape)

    def save(self, path: Path, grid: Arrays, extra: dict[str, np.ndarray], meta: dict[str, Any]):
        """Write the complete reader and the `extra` arrays to one safetensors file."""
        tensors = {f"scmbm.{k}": v for k, v in self.encoder.state_dict().items()}
        tensors |= {f"adaptor.{k}": v for k, v in self.adaptor.state_dict().items()}
        tensors |= {f"weights.{k}": v for k, v in self.weights.items()} | {"mean": self.mean}
        tensors |= {f"means.{k}": way.mean for k, way in self.ways.items()}
        arrays = (
            {name: grid[name] for name in grid.names if name.startswith("grid.")}
            | {f"basis.{name}": value for name, value in vars(self.basis).items()}
            | {"gate": self.agreement}
            | extra
        )
        tensors |= {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
        header = meta | {
            "encoder": self.encoder.settings.model_dump(mode="json"),
            "volumes": self.volumes,
            "adaptor_width": self.adaptor.bottleneck,
            "shape": list(self.shape),
            "alpha": self.alpha,
            "power": self.power,
            "ways": {name: way[:3] for name, way in self.ways.items()},
        }
        with atomic_write(path) as partial:
            flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            save_file(flat, partial, {"meta": json.dumps(header, sort_keys=True)})

    @classmethod
    def load(cls, arrays: Arrays) -> BrainReader:
        """Load a reader from a file written by `save`."""
        basis = Basis(*(arrays[f"basis.{name}"] for name in ("mean", "axes", "scale", "weights")))
        meta, encoder = arrays.meta, load_encoder(arrays)
        adaptor = PositionAdaptor(grid_in(arrays, encoder), meta["adaptor_width"])
        adaptor.load_state_dict(_part(arrays, "adaptor."))
        reader = cls(encoder, adaptor, basis, tuple(meta["shape"]))
        reader.agreement, reader.mean = arrays["gate"], torch.from_numpy(arrays["mean"])
        reader.alpha, reader.power = meta["alpha"], meta["power"]
        reader.weights, means = _part(arrays, "weights."), _part(arrays, "means.")
        reader.ways = {name: Way(*way, means[name]) for name, way in meta["ways"].items()}
        return reader.eval()


def grid_in(arrays: Arrays, encoder: SCMBM):
    """The patch grid of an encoder, from the file that holds it."""
    at = arrays["grid.coordinates"] if "grid.coordinates" in arrays.names else None
    return patch_grid(encoder.settings, arrays["grid.voxels"], arrays["grid.affine"], at)


def _part(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    names = [n for n in arrays.names if n.startswith(prefix)]
    return {n.removeprefix(prefix): torch.from_numpy(arrays[n]) for n in names}


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
