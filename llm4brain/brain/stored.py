"""Windows of BOLD that stay on disk: a batch is read when its turn comes.

Masked modelling sees every window of a cohort, which may be larger than memory. What is kept of
a window is where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4brain.io import Arrays


@dataclass(frozen=True)
class Stored:
    """Windows by their places in safetensors files.

    Attributes:
        sources: (file, name of an array in it): of windows (trials, T, voxels), or of a run
            (volumes, voxels).
        places: (samples, 2) number of a sample's source, and its first volume there, counted
            through all of the source.
        volumes: in a window (T).
        voxels: (voxels, 3) index on the shared grid, or (n, 4) of grayordinates.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates; None of voxels.
    """

    sources: Sequence[tuple[Path, str]]
    places: np.ndarray
    volumes: int
    voxels: np.ndarray
    affine: np.ndarray
    coordinates: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.places)

    def draw(self, samples: np.ndarray) -> np.ndarray:
        """(batch, 2) places of the samples of these numbers."""
        return self.places[samples]

    def read(self, places: np.ndarray) -> np.ndarray:
        """(batch, T, voxels) float32 at these places.

        Read and not mapped: the kernel maps a file by a megabyte, of which a window is a part, and
        counts all of it as this process's memory.
        """
        out = np.empty((len(places), self.volumes, len(self.voxels)), dtype=np.float32)
        for source in np.unique(places[:, 0]):
            path, name = self.sources[source]
            dtype, shape, begin = Arrays(path).place(name)
            row = shape[-1] * np.dtype(dtype).itemsize  # bytes of a volume
            with path.open("rb", buffering=0) as file:
                for i in np.flatnonzero(places[:, 0] == source):
                    file.seek(begin + int(places[i, 1]) * row)
                    window = np.fromfile(file, dtype, out[i].size)
                    out[i] = window.reshape(out.shape[1:])
        return out
