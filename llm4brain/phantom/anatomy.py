"""A subject's head: nilearn's MNI152 template, sampled on the subject's own scanner grid.

The header's affine maps voxels to scanner space, which is MNI space (the phantom has no individual
anatomy). The grid is oblique and off centre, so preprocessing has to resample it to an MNI grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from scipy.ndimage import gaussian_filter, map_coordinates

TEMPLATE_MM = 4  # of the MNI grid on which anatomy and tuning are defined
GREY, WHITE, FLUID = 800.0, 650.0, 1000.0  # mean BOLD of the tissues, scanner units
TILT = 7.0  # degrees; maximum tilt of the grid about each axis


@dataclass(frozen=True)
class Template:
    """The template's maps on its MNI grid, shape (x, y, z), values 0 to 1.

    Attributes:
        affine: (4, 4) from index to MNI mm.
        t1w, grey, white, brain: T1-weighted image, tissue fractions, brain mask.
    """

    affine: np.ndarray
    t1w: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray

    def sample(self, volume: np.ndarray, mm: np.ndarray) -> np.ndarray:
        """Linear interpolation of `volume` at MNI coordinates `mm` (..., 3); 0 outside."""
        index = (mm - self.affine[:3, 3]) / TEMPLATE_MM  # the grid has no rotation
        return map_coordinates(volume, np.moveaxis(index, -1, 0), order=1, output=np.float32)

    def coordinates(self) -> np.ndarray:
        """MNI mm of each voxel, float32 (x, y, z, 3)."""
        index = np.stack(np.indices(self.brain.shape), axis=-1).astype(np.float32)
        return index * TEMPLATE_MM + self.affine[:3, 3].astype(np.float32)


@cache
def template() -> Template:
    """nilearn's bundled MNI152 (ICBM 2009a, skull-stripped); no download."""
    images = [
        load(resolution=TEMPLATE_MM)
        for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    ]
    t1w, grey, white = (np.clip(i.get_fdata(dtype=np.float32), 0, 1) for i in images)
    return Template(images[0].affine, t1w, grey, white, t1w > 0.1)


@dataclass(frozen=True)
class Head:
    """Anatomy on a subject's scanner grid, shape (x, y, z).

    Attributes:
        affine: (4, 4) from index to scanner = MNI mm.
        mm: (x, y, z, 3) coordinates of the voxels.
        brain: mask.
        grey, white, fluid: tissue fractions in the brain.
        baseline: mean BOLD image, scanner units.
    """

    affine: np.ndarray
    mm: np.ndarray
    brain: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    baseline: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.brain.shape
        return x, y, z


def scanner_grid(
    voxel_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """An oblique box around the brain with a margin of one voxel: affine (4, 4) and shape."""
    head = template()
    brain = head.coordinates()[head.brain]
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-TILT, TILT, 3))):
        step = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    inside = brain @ turn  # rows times R = R^T applied to each point
    low = inside.min(axis=0) - voxel_mm * (1 + 0.5 * rng.random(3))
    x, y, z = (int(n) for n in np.ceil((inside.max(axis=0) + voxel_mm - low) / voxel_mm) + 1)
    affine = np.eye(4)
    affine[:3, :3] = turn * voxel_mm
    affine[:3, 3] = turn @ low
    return affine, (x, y, z)


def grid_coordinates(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Scanner mm of each voxel, (x, y, z, 3)."""
    index = np.stack(np.indices(shape), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def head_on_grid(voxel_mm: float, rng: np.random.Generator) -> Head:
    """Anatomy on a random scanner grid with voxels of `voxel_mm`."""
    whole = template()
    affine, shape = scanner_grid(voxel_mm, rng)
    mm = grid_coordinates(affine, shape)
    blur = 0.35 * voxel_mm / TEMPLATE_MM  # a voxel is the average over its volume

    def tissue(volume: np.ndarray) -> np.ndarray:
        return whole.sample(gaussian_filter(volume.astype(np.float32), blur), mm)

    inside, grey, white = tissue(whole.brain), tissue(whole.grey), tissue(whole.white)
    fluid = np.clip(inside - grey - white, 0, 1)
    bias = 1 + 0.1 * np.tanh((mm - mm.reshape(-1, 3).mean(axis=0)) @ rng.normal(size=3) / 100)
    baseline = (GREY * grey + WHITE * white + FLUID * fluid) * bias
    return Head(affine, mm, inside > 0.5, grey, white, fluid, baseline.astype(np.float32))


def t1w_image(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A T1w of `TEMPLATE_MM` on another oblique grid: int16 (x, y, z), affine (4, 4)."""
    whole = template()
    affine, shape = scanner_grid(TEMPLATE_MM, rng)
    sampled = whole.sample(whole.t1w, grid_coordinates(affine, shape)) * 1000
    return np.abs(sampled + rng.normal(0, 8, shape)).round().astype(np.int16), affine
