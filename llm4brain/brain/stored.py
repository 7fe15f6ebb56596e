"""Windows of BOLD that stay on disk and are read batch by batch.

Masked modelling uses every window of a cohort, which may not fit in memory, so only the location
of each window is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4brain.io import Arrays


@dataclass(frozen=True)
class Stored:
    """Windows given by their location in safetensors files.

    Attributes:
        sources: (file, name of an array in it); the array holds windows (trials, T, voxels) or a
            run (volumes, voxels).
        places: (samples, 2) index of the source, and the index of the window's first volume in it,
            counted over all trials.
        volumes: number of volumes in a window (T).
        voxels: (voxels, 3) index on the shared grid, or (n, 4) of grayordinates.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates; None for voxels.
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
        """(batch, 2) places of the samples with these indices."""
        return self.places[samples]

    def read(self, places: np.ndarray) -> np.ndarray:
        """(batch, T, voxels) float32 at these places.

        Uses plain reads instead of memory mapping: the kernel maps about a megabyte at a time, much
        more than a window, and counts it all as memory of this process.
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
