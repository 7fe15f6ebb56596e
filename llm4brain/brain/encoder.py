"""Select the encoder that the settings and the data require."""

from __future__ import annotations

import numpy as np

from llm4brain.brain.mindvis import PublishedSCMBM
from llm4brain.brain.positions import PatchGrid, cut, gather, runs
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.sections import EncoderSettings


def patch_grid(
    settings: EncoderSettings,
    voxels: np.ndarray,
    affine: np.ndarray,
    coordinates: np.ndarray | None,
) -> PatchGrid:
    """Cubes of voxels, patches of neighbouring grayordinates, or MinD-Vis's consecutive voxels.

    Args:
        settings: patch sizes; `tokenizer`, which is `patch1d` or chosen from the data.
        voxels: (n, 3) index on the shared grid, or (n, 4) of grayordinates, whose first column is
            the number of the structure.
        affine: (4, 4) to MNI mm.
        coordinates: (n, 3) mm of grayordinates; None for voxels.
    """
    if settings.tokenizer == "patch1d":
        return runs(len(voxels), settings.patch_values)
    if coordinates is None:
        return cut(voxels, affine, settings.patch_size)
    return gather(voxels[:, 0], coordinates, settings.patch_values)


def new_encoder(
    settings: EncoderSettings,
    voxels: np.ndarray,
    affine: np.ndarray,
    coordinates: np.ndarray | None,
    volumes: int,
) -> SCMBM:
    """SC-MBM with untrained weights; for the other arguments, see `patch_grid`.

    Args:
        volumes: number of volumes in a window.
    """
    kind = PublishedSCMBM if settings.tokenizer == "patch1d" else SCMBM
    return kind(settings, patch_grid(settings, voxels, affine, coordinates), volumes)
