"""Maps over voxels: NIfTI volumes in MNI space, and figures on the MNI152 template."""

from __future__ import annotations

import gzip
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from nilearn import datasets, plotting

from llm4brain.errors import UserError
from llm4brain.io import atomic_write

SLICES = [-24, -12, 0, 12, 24, 36, 48]  # mm, z of the axial slices
COLOURS = "RdBu_r"


def image(
    values: np.ndarray,
    voxels: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    description: str,
) -> nib.Nifti1Image:
    """A volume on the shared grid; 0 outside the brain.

    Args:
        values: shape (voxels,).
        voxels: shape (voxels, 3), their index on the grid.
        affine: (4, 4) from that index to MNI mm.
        shape: shape of the grid.
        description: for the header, up to 79 ASCII characters; states whether data are simulated.

    Raises:
        UserError: the number of voxels differs, or a voxel lies outside the grid.
    """
    if len(values) != len(voxels) or not (voxels < np.array(shape)).all():
        wrong = f"holds {len(values)} values for {len(voxels)} voxels of a grid of {shape}"
        raise UserError("map", wrong, "remake features and model")
    volume = np.zeros(shape, dtype=np.float32)
    volume[tuple(voxels.T)] = values
    made = nib.Nifti1Image(volume, affine)
    made.set_sform(affine, code="mni")
    made.set_qform(affine, code="mni")
    made.header.set_xyzt_units("mm")
    made.header["descrip"] = description.encode("ascii", "replace")[:79]
    return made


def save_image(made: nib.Nifti1Image, path: Path) -> None:
    """Write .nii.gz without the date, so that the bytes are reproducible."""
    with atomic_write(path) as partial:
        partial.write_bytes(gzip.compress(made.to_bytes(), mtime=0))


def draw_map(z: nib.Nifti1Image, threshold: float, title: str) -> Figure:
    """The map as a glass brain, and in axial slices.

    The glass brain shows values above the threshold. The slices show all values, with opacity
    increasing with the value, because hiding values below the threshold would be misleading.

    Args:
        z: from `image`.
        threshold: on |z|, for the glass brain.
        title: states subject, model, and whether data are simulated.
    """
    data = z.get_fdata()
    high = max(float(np.abs(data).max()), 1.2 * threshold)
    figure = plt.figure(figsize=(10, 5.2))
    plotting.plot_glass_brain(
        z,
        threshold=threshold,
        vmax=high,
        display_mode="lyrz",
        plot_abs=False,
        colorbar=True,
        cmap=COLOURS,
        axes=figure.add_axes((0.01, 0.42, 0.98, 0.50)),
        figure=figure,
    )
    cuts = plotting.plot_stat_map(
        z,
        # named, because its box fits the brain; the default box leaves less of the figure
        bg_img=datasets.load_mni152_template(resolution=2),
        threshold=0,
        vmax=high,
        display_mode="z",
        cut_coords=SLICES,
        transparency=z if data.any() else 0.0,
        transparency_range=[0, threshold] if data.any() else None,
        cmap=COLOURS,
        colorbar=False,
        black_bg=False,
        annotate=False,
        axes=figure.add_axes((0.02, 0.10, 0.92, 0.31)),
        figure=figure,
    )
    cuts.annotate(size=8)
    figure.suptitle(f"What the decoder uses: {title}", fontsize=11, y=0.975)
    above, below = int((data > threshold).sum()), int((data < -threshold).sum())
    lower = f" and {below} below -{threshold:.1f}" if below else ""
    figure.text(
        0.5,
        0.025,
        "z of each voxel's contribution to the match of a reading with its clip, against shuffled "
        f"clips.\nGlass brains: the {above} voxels above {threshold:.1f}{lower} "
        "(were there none, 5% of such maps would have any). Cuts: every voxel.",
        ha="center",
        fontsize=8.5,
    )
    return figure


def draw_gate(gate: nib.Nifti1Image, title: str) -> Figure:
    """Agreement as a glass brain: a mean correlation at each voxel, 0 where there is none.

    Args:
        gate: from `image`, 0 or more.
        title: states subjects, and whether data are simulated.
    """
    figure = plt.figure(figsize=(10, 3.4))
    plotting.plot_glass_brain(
        gate,
        display_mode="lyrz",
        vmin=0,
        vmax=float(gate.get_fdata().max()) or 1.0,
        colorbar=True,
        cmap="inferno_r",
        axes=figure.add_axes((0.01, 0.10, 0.98, 0.76)),
        figure=figure,
    )
    figure.suptitle(title, fontsize=11)
    figure.text(
        0.5,
        0.03,
        "mean correlation of responses to the same clip, between showings and between people; "
        "train films, no captions",
        ha="center",
        fontsize=8.5,
    )
    return figure
