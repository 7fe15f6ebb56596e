"""Where patches lie: the shared MNI grid cut into cubes, and sin-cos codes of their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PatchGrid:
    """Cubes of `edge` voxels that cover the brain's voxels.

    Attributes:
        index: (patches, edge**3) number of the voxel in each cell, or -1 outside the brain.
        centre: (patches, 3) mean MNI coordinate of a patch's voxels, in mm.
        edge: voxels along an edge.
    """

    index: np.ndarray
    centre: np.ndarray
    edge: int

    @property
    def inside(self) -> np.ndarray:
        """(patches, edge**3) bool: the cells that hold a voxel."""
        return self.index >= 0


def cut(voxels: np.ndarray, affine: np.ndarray, edge: int) -> PatchGrid:
    """Cut the grid into cubes; cubes without a voxel are dropped.

    Args:
        voxels: (voxels, 3) integer index on the shared grid.
        affine: (4, 4) from that index to MNI mm.
        edge: voxels along an edge of a cube.

    Every subject has the same voxels on the same grid, so token n means the same place of
    MNI space in all of them.
    """
    voxels = np.asarray(voxels, dtype=np.int64)
    cube, cell = np.divmod(voxels - voxels.min(0), edge)
    span = cube.max(0) + 1
    flat = np.ravel_multi_index(cube.T, span)
    occupied, patch = np.unique(flat, return_inverse=True)
    index = np.full((len(occupied), edge**3), -1, dtype=np.int64)
    index[patch, np.ravel_multi_index(cell.T, (edge,) * 3)] = np.arange(len(voxels))
    mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    counts = np.bincount(patch)
    centre = np.stack([np.bincount(patch, mm[:, axis]) / counts for axis in range(3)], axis=1)
    return PatchGrid(index, centre, edge)


def sincos(centre: np.ndarray, width: int, finest_mm: float = 16.0, coarsest_mm: float = 400.0):
    """Fixed sin-cos codes of MNI coordinates.

    Args:
        centre: (patches, 3) in mm.
        width: of a token; what does not divide by 6 stays zero.
        finest_mm, coarsest_mm: wavelengths between which the frequencies lie, geometrically.

    Returns:
        (patches, width) float32.
    """
    per_axis = width // 6
    wavelength = np.geomspace(finest_mm, coarsest_mm, per_axis)
    phase = 2 * np.pi * centre[:, :, None] / wavelength  # (patches, 3, per_axis)
    codes = np.concatenate([np.sin(phase), np.cos(phase)], axis=2).reshape(len(centre), -1)
    out = np.zeros((len(centre), width), dtype=np.float32)
    out[:, : codes.shape[1]] = codes
    return out
