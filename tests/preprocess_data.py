"""Tiny BIDS data sets for the tests of preprocessing: a brain-shaped blob that moves."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

AFFINE = np.array([[12.0, 0, 0, -90], [0, 12, 0, -126], [0, 0, 12, -72], [0, 0, 0, 1]])
SHAPE = (16, 19, 15)


def head(affine=AFFINE, shape=SHAPE, moved=None):
    """A smooth ellipsoid with structure, seen on a grid, its points moved by `moved` (4, 4)."""
    moved = np.eye(4) if moved is None else moved
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    back = np.linalg.inv(moved)
    x, y, z = back[:3, :3] @ world + back[:3, 3:]
    radius = np.sqrt((x / 68) ** 2 + ((y + 18) / 85) ** 2 + ((z - 8) / 62) ** 2)
    edge = 1 / (1 + np.exp((radius - 1) * 12))
    inside = 1 + 0.25 * np.sin(x / 18) * np.cos(y / 22) + 0.2 * np.cos(z / 15 + x / 30)
    return (1000 * edge * inside).reshape(shape)


def noise(shape, rng, sigma=1.0):
    """Spatially smooth noise of unit variance, (x, y, z, time)."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (sigma, sigma, sigma, 0.5))
    return field / field.std()


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(
    root: Path,
    stem: str = "sub-01_task-film_run-01",
    data=None,
    *,
    tr=2.0,
    events="onset\tduration\tstim_file\n0\t40\tfilm-01.mp4\n",
    affine=AFFINE,
    sidecar=None,
    volumes=30,
    seed=0,
) -> Path:
    """One raw run with its sidecar and events; returns the NIfTI's path."""
    write_json(root / "dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.9.0"})
    parts = dict(p.split("-") for p in stem.split("_"))
    folder = root / f"sub-{parts['sub']}"
    folder = (folder / f"ses-{parts['ses']}" if "ses" in parts else folder) / "func"
    folder.mkdir(parents=True, exist_ok=True)
    if data is None:
        rng = np.random.default_rng(seed)
        data = head(affine)[..., None] + 8 * noise((*SHAPE, volumes), rng)
    path = folder / f"{stem}_bold.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine), path)
    sidecar = {"RepetitionTime": tr, "TaskName": "film"} if sidecar is None else sidecar
    write_json(folder / f"{stem}_bold.json", sidecar)
    if events is not None:
        (folder / f"{stem}_events.tsv").write_text(events)
    return path
