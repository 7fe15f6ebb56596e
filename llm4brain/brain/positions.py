"""Patch grids: cubes of the shared MNI grid, neighbouring grayordinates, or consecutive voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# offsets from a cube to the 26 cubes that touch it
AROUND = np.array([d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)]) - 1
TURNS = 8  # patches are hidden in this many groups, an eighth at a time


@dataclass(frozen=True)
class PatchGrid:
    """Patches that cover all voxels or grayordinates.

    Attributes:
        index: (patches, cells) index of the voxel in each cell, or -1 for an empty cell.
        centre: (patches, 3) mean MNI coordinate of a patch's voxels, in mm; None if unknown, in
            which case only the order of the patches is used.
        edge: for cubes, voxels along an edge; a cube has edge**3 cells.
        cube: for cubes, (patches, 3) integer position of each cube.
    """

    index: np.ndarray
    centre: np.ndarray | None
    edge: int | None = None
    cube: np.ndarray | None = None

    @property
    def turns(self) -> np.ndarray:
        """(patches,) group in which a patch is hidden; each is predicted once, from others."""
        if self.cube is not None:  # cubes of a group never touch each other
            return (self.cube % 2) @ np.array([1, 2, 4])
        turns = np.arange(len(self.index)) % TURNS
        # hide patches with repeated voxels together with patch 0, whose voxels they repeat
        turns[~self.inside.all(axis=1) & (self.index >= 0).all(axis=1)] = turns[0]
        return turns

    @property
    def neighbours(self) -> np.ndarray | None:
        """(patches, 26) the cubes around each, in the order of `AROUND`; -1 if there is none."""
        if self.cube is None:
            return None
        place = {tuple(cube): n for n, cube in enumerate(self.cube)}
        return np.array([[place.get(tuple(c + d), -1) for d in AROUND] for c in self.cube])

    @property
    def patch_of(self) -> np.ndarray:
        """(positions,) the patch of each voxel or grayordinate."""
        found = np.empty(self.index.max() + 1, dtype=np.int64)
        patch, cell = np.nonzero(self.inside)
        found[self.index[patch, cell]] = patch
        return found

    @property
    def inside(self) -> np.ndarray:
        """(patches, cells) bool: cells that hold a voxel that no earlier cell holds."""
        first = np.zeros(self.index.size, dtype=bool)
        first[np.unique(self.index, return_index=True)[1]] = True
        return first.reshape(self.index.shape) & (self.index >= 0)

    def codes(self, width: int) -> np.ndarray:
        """Fixed sin-cos positional codes of the patches, (patches, width) float32."""
        if self.centre is None:
            return sincos_order(len(self.index), width)
        return sincos(self.centre, width)


def cut(voxels: np.ndarray, affine: np.ndarray, edge: int) -> PatchGrid:
    """Cut the grid into cubes; cubes without a voxel are dropped.

    Args:
        voxels: (voxels, 3) integer index on the shared grid.
        affine: (4, 4) from that index to MNI mm.
        edge: voxels along an edge of a cube.

    All subjects have the same voxels on the same grid, so token n is at the same MNI location in
    all of them.
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
    return PatchGrid(index, centre, edge, np.stack(np.unravel_index(occupied, span), axis=1))


def gather(structure: np.ndarray, places: np.ndarray, size: int) -> PatchGrid:
    """Patches of neighbouring grayordinates; a patch never spans two structures.

    A structure is halved across its longest extent, and so is each half, until no part has more
    than `size` grayordinates. The patches are compact, few have empty cells, and the result is
    deterministic. Neighbours are defined by distance in mm, so on a folded mesh the two banks of a
    sulcus may share a patch. In a structure with unknown coordinates, neighbours are consecutive in
    the list; the positional codes of all patches then encode their order.

    Args:
        structure: (n,) number of the structure of each grayordinate.
        places: (n, 3) mm, NaN where unknown.
        size: maximum number of grayordinates in a patch.
    """
    known = np.isfinite(places).all(axis=1)
    parts = []
    for number in dict.fromkeys(structure.tolist()):
        own = np.flatnonzero(structure == number)
        where = places[own] if known[own].all() else np.arange(len(own), dtype=float)[:, None]
        parts += [own[part] for part in _halved(where, size)]
    index = np.full((len(parts), size), -1, dtype=np.int64)
    for row, part in zip(index, parts, strict=True):
        row[: len(part)] = part
    centre = np.stack([places[part].mean(axis=0) for part in parts]) if known.all() else None
    return PatchGrid(index, centre)


def _halved(where: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows of `where` (n, axes) in parts of at most `size`, in ascending order within a part."""
    parts, waiting = [], [np.arange(len(where))]
    while waiting:
        part = waiting.pop()
        if len(part) <= size:
            parts.append(np.sort(part))
            continue
        # the left part fills whole patches, so that few cells stay empty
        left = size * (-(-len(part) // size) // 2)
        axis = int(np.argmax(np.ptp(where[part], axis=0)))
        order = part[np.argsort(where[part, axis], kind="stable")]
        waiting += [order[left:], order[:left]]
    return parts


def runs(voxels: int, size: int) -> PatchGrid:
    """Consecutive voxels, `size` per patch, as in MinD-Vis.

    The last patch is filled up from the beginning of the list. If there is no remainder, MinD-Vis
    appends one more patch that repeats the first; so do we, since the number of patches must match
    the positional embedding of a checkpoint.
    """
    padded = np.arange(voxels + size - voxels % size) % voxels
    return PatchGrid(padded.reshape(-1, size), None)


def sincos_order(patches: int, width: int) -> np.ndarray:
    """Fixed sin-cos codes of 0, 1, 2, ..., (patches, width) float32, as in MAE and MinD-Vis."""
    rate = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    phase = np.arange(patches)[:, None] * rate
    out = np.zeros((patches, width), dtype=np.float32)
    out[:, : 2 * len(rate)] = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    return out


def sincos(centre: np.ndarray, width: int, finest_mm: float = 16.0, coarsest_mm: float = 400.0):
    """Fixed sin-cos codes of MNI coordinates.

    Args:
        centre: (patches, 3) in mm.
        width: length of the code; the remainder after division by 6 stays zero.
        finest_mm, coarsest_mm: range of the geometrically spaced wavelengths.

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
