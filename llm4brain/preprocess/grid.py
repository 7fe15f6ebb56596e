"""The shared grid in MNI space: nilearn's MNI152 template, cut to the box of its brain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from nilearn import datasets
from scipy import ndimage


@dataclass(frozen=True)
class Grid:
    """A voxel grid in MNI space and the template's brain on it.

    Attributes:
        affine: (4, 4) voxel index -> mm.
        brain: (x, y, z) bool, nilearn's MNI152 brain mask.
        white, csf: (x, y, z) bool, voxels that are surely white matter, cerebrospinal fluid.
    """

    affine: np.ndarray
    brain: np.ndarray
    white: np.ndarray
    csf: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.brain.shape

    @property
    def voxels(self) -> np.ndarray:
        """Indices of the brain's voxels, (voxels, 3) int16, in C order: same for every subject."""
        return np.argwhere(self.brain).astype(np.int16)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a file on this grid holds of it."""
        return {"voxels": self.voxels}

    @property
    def meta(self) -> dict[str, Any]:
        return {"affine": self.affine.tolist(), "shape": list(self.shape)}


@cache
def mni_grid(voxel_mm: int) -> Grid:
    """The template's grid at `voxel_mm`, cut to the brain's box and one voxel around it.

    The template that nilearn carries is ICBM 2009a, symmetric; fMRIPrep's
    MNI152NLin2009cAsym differs from it by a few mm at most, less than a voxel here.
    """
    mask = datasets.load_mni152_brain_mask(resolution=voxel_mm)
    brain = np.asarray(mask.dataobj, dtype=bool)
    white = datasets.load_mni152_wm_template(resolution=voxel_mm).get_fdata()
    gray = datasets.load_mni152_gm_template(resolution=voxel_mm).get_fdata()

    inside = np.argwhere(brain)
    low = np.maximum(inside.min(axis=0) - 1, 0)
    high = np.minimum(inside.max(axis=0) + 2, brain.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = np.array(mask.affine, dtype=float)
    affine[:3, 3] += affine[:3, :3] @ low

    brain, white, gray = brain[box], white[box], gray[box]
    # What of the brain is neither gray nor white; its rim is left out, which the mask's edge
    # makes look like fluid.
    fluid = np.where(ndimage.binary_erosion(brain), 1 - gray - white, 0)
    return Grid(affine, brain, _surest(white, brain), _surest(fluid, brain))


def _surest(probability: np.ndarray, brain: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Voxels where a tissue is surest: the top 2% of the brain.

    A share and not a threshold, since voxels of 8 mm hardly hold one tissue alone.
    """
    least = np.quantile(probability[brain], 1 - share)
    return brain & (probability >= least) & (probability > 0)
