"""Which encoder the settings and the data ask for."""

from __future__ import annotations

import numpy as np

from llm4brain.brain.mindvis import PublishedSCMBM
from llm4brain.brain.positions import cut, gather, runs
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.sections import EncoderSettings


def new_encoder(
    settings: EncoderSettings,
    voxels: np.ndarray,
    affine: np.ndarray,
    coordinates: np.ndarray | None,
    volumes: int,
) -> SCMBM:
    """SC-MBM with untrained weights.

    Args:
        settings: sizes; `tokenizer`, which is `patch1d` or left to the data: cubes and the 3D CNN
            for voxels, patches of neighbours for grayordinates.
        voxels: (n, 3) index on the shared grid, or (n, 4) of grayordinates, the first column the
            number of their structure.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates; None of voxels.
        volumes: in a window.
    """
    if settings.tokenizer == "patch1d":
        return PublishedSCMBM(settings, runs(len(voxels), settings.patch_values), volumes)
    if coordinates is None:
        return SCMBM(settings, cut(voxels, affine, settings.patch), volumes)
    return SCMBM(settings, gather(voxels[:, 0], coordinates, settings.patch_values), volumes)
