"""Planted tuning: which voxels respond to which features, partly shared by all subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from llm4brain.phantom.anatomy import TEMPLATE_MM, template
from llm4brain.phantom.grammar import ATTRIBUTES

LOWLEVEL_CELLS = 3  # luminance and motion of a frame are computed on a 3 x 3 grid
FEATURES: dict[str, tuple[str, ...]] = {
    **ATTRIBUTES,
    "lowlevel": tuple(
        f"{kind}-{row}-{column}"
        for kind in ("luminance", "motion")
        for row in range(LOWLEVEL_CELLS)
        for column in range(LOWLEVEL_CELLS)
    ),
}
RADIUS_MM = 12.0
SMOOTH_MM = 8.0  # sigma of the preference maps
WARP_MM = 8.0  # root mean square shift of a subject's topography, about one default voxel
WARP_SMOOTH_MM = 24.0
IDIOSYNCRATIC = 0.3  # fraction of tuning variance that is specific to the subject
FILM_RESPONSE = 1.0  # response to any film, in units of the tuning's sd


class Region(NamedTuple):
    """A bilateral sphere; `mm` is the right centre in MNI space, the left one is its mirror."""

    name: str
    tuned_to: str
    mm: tuple[float, float, float]


# Rounded centres from localiser studies: e.g. Julian et al. 2012 (FFA, PPA, LO, RSC, OPA
# parcels), Malach et al. 1995 (LOC), Dumoulin et al. 2000 (MT+), Deen et al. 2015 (pSTS),
# McKeefry & Zeki 1997 (V4/VO).
REGIONS = (
    Region("V1", "lowlevel", (10, -90, 2)),
    Region("fusiform", "who", (40, -52, -18)),
    Region("LOC", "who", (42, -80, -8)),
    Region("MT+", "action", (47, -68, 6)),
    Region("pSTS", "action", (54, -46, 14)),
    Region("PPA", "place", (26, -44, -10)),
    Region("RSC", "place", (16, -56, 12)),
    Region("OPA", "place", (32, -82, 22)),
    Region("V4", "colour", (28, -76, -14)),
    Region("VO", "colour", (22, -62, -8)),
)


@dataclass(frozen=True)
class Tuning:
    """A subject's tuning on the template's MNI grid.

    Attributes:
        maps: attribute -> float32 (values, x, y, z): response to each value.
        regions: uint8 (x, y, z): 1 + index in `REGIONS` after the warp, 0 elsewhere.
        shift: float32 (3, x, y, z), mm: displacement at which the shared topography is read.
        gain: response of this subject relative to the cohort's.
    """

    maps: dict[str, np.ndarray]
    regions: np.ndarray
    shift: np.ndarray
    gain: float


def region_labels(mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The region that each coordinate belongs to.

    Args:
        mm: MNI coordinates (..., 3).

    Returns:
        uint8 (...): 1 + index of the nearest region within reach, else 0; and float32 (...), 1
        within a region that falls off to 0 over the last 4 mm.
    """
    best = np.full(mm.shape[:-1], np.inf, np.float32)
    label = np.zeros(mm.shape[:-1], np.uint8)
    for k, region in enumerate(REGIONS, start=1):
        for side in (-1, 1):
            centre = np.array(region.mm) * (side, 1, 1)
            away = np.linalg.norm(mm - centre, axis=-1).astype(np.float32)
            nearer = away < best
            best[nearer], label[nearer] = away[nearer], k
    weight = np.clip((RADIUS_MM + 2 - best) / 4, 0, 1)
    label[weight == 0] = 0
    return label, weight


def smooth_maps(count: int, sigma_mm: float, rng: np.random.Generator) -> np.ndarray:
    """`count` smooth random maps of unit variance on the template's grid, (count, x, y, z)."""
    shape = template().brain.shape
    maps = rng.standard_normal((count, *shape), dtype=np.float32)
    for one in maps:
        one[:] = gaussian_filter(one, sigma_mm / TEMPLATE_MM, mode="wrap")
        one /= one.std()
    return maps


def _preferences(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A map for each value of each attribute, before regions are cut out."""
    return {name: smooth_maps(len(v), SMOOTH_MM, rng) for name, v in FEATURES.items()}


def subject_tuning(shared: np.random.Generator, own: np.random.Generator) -> Tuning:
    """Tuning of one subject.

    Args:
        shared: random generator of the cohort, the same for every subject.
        own: random generator of the subject: warp, individual maps, gain.
    """
    head = template()
    common = _preferences(shared)
    shift = smooth_maps(3, WARP_SMOOTH_MM, own) * np.float32(WARP_MM / np.sqrt(3))
    seen = head.coordinates() + np.moveaxis(shift, 0, -1)
    label, weight = region_labels(seen)
    weight = weight * (0.3 + 0.7 * head.grey) * head.brain
    label[weight == 0] = 0
    tuned_to = np.array(["", *(r.tuned_to for r in REGIONS)])[label]
    alone = _preferences(own)
    maps = {}
    for name, values in common.items():
        warped = np.stack([head.sample(v, seen) for v in values])
        mixed = np.sqrt(1 - IDIOSYNCRATIC) * warped + np.sqrt(IDIOSYNCRATIC) * alone[name]
        if name in ATTRIBUTES:  # one value is shown at a time: their mean is the film response
            mixed += FILM_RESPONSE - mixed.mean(axis=0)
        maps[name] = (mixed * weight * (tuned_to == name)).astype(np.float32)
    return Tuning(maps, label, shift, float(np.exp(own.normal(0, 0.12))))
