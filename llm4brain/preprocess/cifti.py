"""CIFTI runs: grayordinates in place of voxels, chosen by the names of their areas.

A grayordinate is a vertex of a cortical surface or a voxel below the cortex. All subjects of a
space have the same ones, so column n means the same place in each of them, as a voxel of the shared
grid does. What is read is the cortex (the first 59,412 of fMRIPrep's 91k), or the areas that
`bold.rois` names, area after area in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
from bids import BIDSLayout
from nibabel.cifti2 import (
    CIFTI_BRAIN_STRUCTURES,
    BrainModelAxis,
    Cifti2HeaderError,
    Cifti2Image,
    LabelAxis,
    SeriesAxis,
)

from llm4brain.errors import UserError
from llm4brain.io import missing
from llm4brain.preprocess import images
from llm4brain.preprocess.areas import Area, choose
from llm4brain.preprocess.find import Derived, one_a_run
from llm4brain.sections import BoldSettings

SPACE = "fsLR"  # the value of bold.space by which CIFTI is read
PREFIX = "CIFTI_STRUCTURE_"
SIDES = {"L": f"{PREFIX}CORTEX_LEFT", "R": f"{PREFIX}CORTEX_RIGHT"}
BROKEN = (*images.BROKEN, Cifti2HeaderError, ExpatError)
LEAST_SIGNAL = 0.5  # share of the grayordinates that must have any


@dataclass(frozen=True)
class Grayordinates:
    """Which columns of a data set's CIFTI files are read, and where they lie.

    Attributes:
        axis: of the files, all their columns.
        columns: (n,) those that are read, in the order in which they are kept.
        areas: name of each area that was asked for and how many of `columns` are its own.
        coordinates: (n, 3) float32 mm; NaN on a surface of which no mesh was given.
    """

    axis: BrainModelAxis
    columns: np.ndarray
    areas: tuple[tuple[str, int], ...]
    coordinates: np.ndarray

    @property
    def voxels(self) -> np.ndarray:
        """(n, 4) int32: number of the structure in `meta`, then vertex, -1, -1 or i, j, k."""
        own = self.axis[self.columns]
        number = {name: k for k, name in enumerate(self._names)}
        structure = [number[name] for name in own.name]
        rest = np.where(own.surface_mask[:, None], -1, own.voxel)
        rest[own.surface_mask, 0] = own.vertex[own.surface_mask]
        return np.column_stack([structure, rest]).astype(np.int32)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a file of these grayordinates holds of them."""
        return {"voxels": self.voxels, "coordinates": self.coordinates}

    @property
    def _names(self) -> list[str]:
        return [str(name) for name, _, _ in self.axis.iter_structures()]

    @property
    def meta(self) -> dict[str, Any]:
        """What a map of these grayordinates needs to be written as CIFTI again.

        `affine` and `shape` are those of the voxels below the cortex; `cifti` has the structures
        that the first column of `voxels` counts, with the vertices of their whole surface (None:
        voxels), and the areas.
        """
        below = self.axis.affine is not None
        return {
            "affine": (self.axis.affine if below else np.eye(4)).tolist(),
            "shape": list(self.axis.volume_shape) if below else [],
            "cifti": {
                "structures": [[n, self.axis.nvertices.get(n)] for n in self._names],
                "areas": [list(area) for area in self.areas],
            },
        }

    def read(self, path: Path) -> np.ndarray:
        """One run as preprocessing left it, (volumes, n) float32.

        Raises:
            UserError: the file has other columns than the first run's, holds NaN or empty
                volumes, or no signal in most of what is read.
        """
        image, axis = open_run(path)
        if axis != self.axis:
            wrong = f"has other grayordinates ({len(axis)}) than the run before it"
            raise UserError(path, wrong, "run preprocessing of all runs by one version")
        try:
            signals = np.asarray(image.dataobj, dtype=np.float32)[:, self.columns]
        except BROKEN as error:
            raise UserError(
                path, f"is not a whole CIFTI file ({error})", "fetch or make it again"
            ) from None
        images.check(path, signals.T[:, None, None])
        found = (np.ptp(signals, axis=0) > 0).mean()
        if found < LEAST_SIGNAL:
            wrong = f"has a signal in {found:.0%} of the {len(self.columns)} grayordinates read"
            raise UserError(path, wrong, "correct bold.rois, or leave the run out")
        return signals


def volumes(path: Path) -> int:
    """How many volumes a dtseries has, by its header."""
    return open_run(path)[0].shape[0]


def repetition_time(path: Path) -> float | None:
    """TR (s) by a dtseries' header; None where its series is not one of seconds."""
    series = open_run(path)[0].header.get_axis(0)
    return float(series.step) if series.unit == "SECOND" and series.step > 0 else None


def open_run(path: Path) -> tuple[Cifti2Image, BrainModelAxis]:
    """A dtseries and its grayordinates, nothing read as yet.

    Raises:
        UserError: missing, broken, or no time series of grayordinates.
    """
    image, axes = _open(path)
    if not isinstance(axes[0], SeriesAxis) or image.shape[0] < 2:
        raise UserError(path, "is not a time series", "give a .dtseries.nii of several volumes")
    return image, axes[1]


def _open(path: Path) -> tuple[Cifti2Image, tuple[Any, BrainModelAxis]]:
    if not path.is_file():
        raise missing(path, "fetch it, or correct the path")
    try:
        image = nib.load(path)
    except BROKEN as error:
        raise UserError(
            path, f"is not a whole CIFTI file ({error})", "fetch or make it again"
        ) from None
    if not isinstance(image, Cifti2Image) or image.ndim != 2:
        raise UserError(path, "is no CIFTI-2 file of two axes", "fetch or make it again")
    images.check_slope(path, image)
    axes = tuple(image.header.get_axis(k) for k in range(2))
    if not isinstance(axes[1], BrainModelAxis):
        raise UserError(path, "has no grayordinates", "give a dense file (.dtseries, .dlabel)")
    return image, axes


def runs(derivatives: BIDSLayout, subject: str, tasks: Sequence[str] = ()) -> list[Derived]:
    """The subject's runs in grayordinates, sorted by name; they need no mask.

    Args:
        tasks: names or patterns; none: every task.

    Raises:
        UserError: there is none, a run has several densities, or confounds are missing.
    """
    where = Path(derivatives.root) / f"sub-{subject}"
    files = sorted(where.rglob(f"func/*_space-{SPACE}_*bold.dtseries.nii"))
    return one_a_run(
        derivatives,
        [(file, None) for file in files],
        tasks,
        missing=(
            where,
            f"*_space-{SPACE}_den-91k_bold.dtseries.nii",
            "preprocessing with preprocess.cifti: true",
        ),
        extent="density",
    )


def grayordinates(first: Path, settings: BoldSettings) -> Grayordinates:
    """What is read of a data set's files.

    Args:
        first: one of its dtseries, which says what columns there are.
        settings: `rois` (None: the cortex), `atlas` (a .dlabel.nii that knows their names) and
            `surfaces` (meshes of left and right, for the vertices' coordinates).

    Raises:
        UserError: a name that neither the atlas nor the file knows, an atlas or a mesh of other
            surfaces than the data's.
    """
    _, axis = open_run(first)
    parts = structures(axis)
    if settings.rois is None:
        cortex = [(n.removeprefix(PREFIX), parts[n]) for n in SIDES.values() if n in parts]
        if not cortex:
            wrong = "has no grayordinates of the cortex"
            raise UserError(first, wrong, "name what to read in bold.rois")
        chosen = cortex
    else:
        known = labels(Path(settings.atlas), axis) if settings.atlas else []
        known += [Area(n.removeprefix(PREFIX), own) for n, own in parts.items()]
        side = {key: parts.get(name, np.zeros(0, dtype=int)) for key, name in SIDES.items()}
        chosen = choose(settings.rois, known, side, settings.atlas or first)
    columns = np.concatenate([own for _, own in chosen])
    coordinates = np.full((len(axis), 3), np.nan, dtype=np.float32)
    below = ~axis.surface_mask
    if below.any():
        coordinates[below] = nib.affines.apply_affine(axis.affine, axis.voxel[below])
    for name, path in zip(SIDES.values(), settings.surfaces or (), strict=False):
        if name in parts:
            mesh = vertices(Path(path), axis.nvertices[name])
            coordinates[parts[name]] = mesh[axis.vertex[parts[name]]]
    areas = tuple((name, len(own)) for name, own in chosen)
    return Grayordinates(axis, columns, areas, coordinates[columns])


def structures(axis: BrainModelAxis) -> dict[str, np.ndarray]:
    """The columns of each structure of a file."""
    return {name: np.flatnonzero(axis.name == name) for name, _, _ in axis.iter_structures()}


def labels(path: Path, axis: BrainModelAxis) -> list[Area]:
    """The areas of a .dlabel.nii, as columns of the data.

    Label and data are matched vertex by vertex and voxel by voxel, so that an atlas of the cortex
    alone, or one with the medial wall, names the columns of a 91k file too. By number no label
    is ever asked for: two common files of one atlas number left and right the other way round.

    Raises:
        UserError: no label file, or one whose surfaces have other vertices.
    """
    image, axes = _open_labels(path)
    where = {key: column for column, key in enumerate(_keys(axis))}
    for name, count in axes[1].nvertices.items():
        if axis.nvertices.get(name, count) != count:
            wrong = f"has {count} vertices in {name}, and the data have {axis.nvertices[name]}"
            raise UserError(path, wrong, "give an atlas of the data's density (91k: 32k_fs_LR)")
    column = np.array([where.get(key, -1) for key in _keys(axes[1])])
    found: dict[str, list[np.ndarray]] = {}
    for values, names in zip(np.asarray(image.dataobj), axes[0].label, strict=True):
        for number, (name, _colour) in names.items():
            if number:  # 0: no label
                found.setdefault(name, []).append(column[(values == number) & (column >= 0)])
    return [Area(name, np.unique(np.concatenate(own))) for name, own in found.items()]


def names(path: Path) -> list[str]:
    """What can be asked for by an atlas: its labels, and the structures of CIFTI.

    Raises:
        UserError: no label file.
    """
    _, axes = _open_labels(path)
    own = {name for each in axes[0].label for number, (name, _) in each.items() if number}
    return sorted(own | CIFTI_BRAIN_STRUCTURES.value_set())


def _open_labels(path: Path) -> tuple[Cifti2Image, tuple[LabelAxis, BrainModelAxis]]:
    image, axes = _open(path)
    if not isinstance(axes[0], LabelAxis):
        raise UserError(path, "holds no labels", "give a .dlabel.nii as bold.atlas")
    return image, axes


def _keys(axis: BrainModelAxis) -> list[tuple]:
    """What a grayordinate is the same by in two files."""
    return [
        (name, int(vertex)) if on_surface else (name, *map(int, voxel))
        for name, vertex, voxel, on_surface in zip(
            axis.name, axis.vertex, axis.voxel, axis.surface_mask, strict=True
        )
    ]


def vertices(path: Path, count: int) -> np.ndarray:
    """Where the vertices of a mesh lie, (count, 3) mm.

    Raises:
        UserError: missing, no GIFTI surface, or of another number of vertices.
    """
    if not path.is_file():
        raise UserError(path, "does not exist", "correct bold.surfaces")
    try:
        points = nib.load(path).agg_data("pointset")
    except (*BROKEN, AttributeError) as error:
        raise UserError(path, f"is no GIFTI surface ({error})", "correct bold.surfaces") from None
    if not isinstance(points, np.ndarray) or len(points) != count:
        found = len(points) if isinstance(points, np.ndarray) else "no"
        wrong = f"has {found} vertices, and the data's surface has {count}"
        raise UserError(path, wrong, "give a mesh of the data's density (91k: 32k)")
    return points.astype(np.float32)


def axis_of(voxels: np.ndarray, meta: Mapping[str, Any]) -> BrainModelAxis:
    """Grayordinates as a CIFTI axis again, from what `Grayordinates` gave.

    Args:
        voxels: (n, 4), see `Grayordinates.voxels`.
        meta: see `Grayordinates.meta`.
    """
    names = [name for name, _ in meta["cifti"]["structures"]]
    counts = {n: count for n, count in meta["cifti"]["structures"] if count is not None}
    on_surface = voxels[:, 2] < 0
    used = {names[k] for k in np.unique(voxels[:, 0])}
    below = not on_surface.all()
    return BrainModelAxis(
        np.array([names[k] for k in voxels[:, 0]]),
        voxel=np.where(on_surface[:, None], -1, voxels[:, 1:]),
        vertex=np.where(on_surface, voxels[:, 1], -1),
        affine=np.array(meta["affine"]) if below else None,
        volume_shape=tuple(meta["shape"]) if below else None,
        nvertices={n: count for n, count in counts.items() if n in used},
    )
