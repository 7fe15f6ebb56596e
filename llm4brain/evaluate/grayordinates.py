"""Maps over grayordinates: CIFTI files, and figures on surface meshes or by area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from nibabel.cifti2 import Cifti2Image, ScalarAxis
from nilearn import plotting

from llm4brain.errors import UserError
from llm4brain.evaluate.volumes import COLOURS
from llm4brain.io import atomic_write
from llm4brain.preprocess.cifti import SIDES, axis_of, vertices

SHOWN = 20  # areas in the bar chart: those with the largest sums
VIEWS = ("lateral", "medial")


def scalars(
    values: np.ndarray, voxels: np.ndarray, meta: Mapping[str, Any], description: str
) -> Cifti2Image:
    """A map over the grayordinates of the features, in CIFTI order.

    Args:
        values: shape (n,).
        voxels: shape (n, 4), of the features.
        meta: of the features: `cifti`, `affine` and `shape`.
        description: name of the map; states whether data are simulated.

    Raises:
        UserError: the number of grayordinates differs.
    """
    if len(values) != len(voxels):
        wrong = f"holds {len(values)} values for {len(voxels)} grayordinates"
        raise UserError("map", wrong, "remake features and model")
    # features are ordered by area; CIFTI readers need each structure in one block
    order = np.lexsort(voxels.T[::-1])
    axis = axis_of(voxels[order], meta)
    made = Cifti2Image(values[order][None].astype(np.float32), (ScalarAxis([description]), axis))
    made.nifti_header.set_intent("ConnDenseScalar")
    return made


def save_scalars(made: Cifti2Image, path: Path) -> None:
    """Write .dscalar.nii with reproducible bytes."""
    with atomic_write(path) as partial:
        nib.save(made, partial)


def sums(values: np.ndarray, areas: Sequence[tuple[str, int]]) -> dict[str, float]:
    """The sum of a map over each area; areas are consecutive."""
    ends = np.cumsum([0, *(count for _, count in areas)])
    return {
        name: float(values[a:b].sum(dtype=np.float64))
        for (name, _), a, b in zip(areas, ends[:-1], ends[1:], strict=True)
    }


def draw_areas(
    contribution: np.ndarray,
    z: np.ndarray,
    areas: Sequence[tuple[str, int]],
    threshold: float,
    title: str,
) -> Figure:
    """Bar chart of the contribution of each area to the match, for data without meshes.

    Args:
        contribution, z: shape (n,), ordered by area.
        areas: name and number of grayordinates of each.
        threshold: z above which a grayordinate counts.
        title: states subject, model, and whether data are simulated.
    """
    added = sums(contribution, areas)
    above = sums((z > threshold).astype(float), areas)
    count = dict(areas)
    shown = sorted(added, key=lambda name: -abs(added[name]))[:SHOWN]
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.28 * len(shown)), layout="constrained")
    axes.barh(shown[::-1], [added[name] for name in shown[::-1]], color="#b2182b")
    for row, name in enumerate(shown[::-1]):
        said = f" {above[name]:.0f} of {count[name]}"
        axes.text(max(added[name], 0), row, said, va="center", fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_xlabel(
        "sum over the area of the contribution to the match of a reading with its clip;\n"
        f"beside it, of how many grayordinates the z passes {threshold:.1f}"
    )
    left_out = len(areas) - len(shown)
    more = f" ({left_out} more areas)" if left_out else ""
    axes.set_title(f"What the decoder uses: {title}{more}", fontsize=10)
    return figure


def draw_surfaces(
    z: np.ndarray,
    voxels: np.ndarray,
    meta: Mapping[str, Any],
    meshes: Sequence[str | Path],
    threshold: float,
    title: str,
) -> Figure:
    """The map on the meshes of both hemispheres, in lateral and medial views.

    All values are shown, also below the threshold; vertices without data are grey.

    Args:
        z: shape (n,).
        voxels, meta: of the features.
        meshes: .surf.gii of the left and right hemisphere.
        threshold: |z| that a null map exceeds anywhere with probability 5 in 100.
        title: states subject, model, and whether data are simulated.
    """
    high = max(float(np.abs(z).max()), 1.2 * threshold)
    names = [name for name, _ in meta["cifti"]["structures"]]
    figure = plt.figure(figsize=(10, 3.4))
    for side, (key, mesh) in enumerate(zip(SIDES, meshes, strict=True)):
        if SIDES[key] not in names:
            continue
        number = names.index(SIDES[key])
        count = meta["cifti"]["structures"][number][1]
        points = vertices(Path(mesh), count)
        triangles = nib.load(mesh).agg_data("triangle")
        own = (voxels[:, 0] == number) & (voxels[:, 2] < 0)
        values = np.full(count, np.nan)
        values[voxels[own, 1]] = z[own]
        for column, view in enumerate(VIEWS):
            axes = figure.add_axes(
                (0.01 + 0.235 * (2 * side + column), 0.12, 0.23, 0.74), projection="3d"
            )
            plotting.plot_surf(
                [points, triangles],
                values,
                hemi=("left", "right")[side],
                view=view,
                cmap=COLOURS,
                vmin=-high,
                vmax=high,
                colorbar=False,
                axes=axes,
                figure=figure,
            )
            axes.set_title(f"{('left', 'right')[side]}, {view}", fontsize=9, y=0.97)
    bar = figure.add_axes((0.955, 0.2, 0.012, 0.6))
    scale = plt.cm.ScalarMappable(plt.Normalize(-high, high), COLOURS)
    figure.colorbar(scale, cax=bar)
    figure.suptitle(f"What the decoder uses: {title}", fontsize=11)
    figure.text(
        0.5,
        0.02,
        "z of each grayordinate's contribution to the match of a reading with its clip, against "
        f"shuffled clips; {int((z > threshold).sum())} pass {threshold:.1f}",
        ha="center",
        fontsize=8.5,
    )
    return figure
