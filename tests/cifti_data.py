"""A small CIFTI study: two spheres for hemispheres, a nucleus of voxels, areas with names."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, SeriesAxis
from scipy.spatial import ConvexHull

VERTICES, MEDIAL, TR = 200, 20, 2.0
SPACE = "space-fsLR_den-91k"


def sphere(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (VERTICES, 3) mm and triangles of a hemisphere, 40 mm to the side."""
    k = np.arange(VERTICES) + 0.5
    turn, height = np.pi * (1 + 5**0.5) * k, np.arccos(1 - 2 * k / VERTICES)
    unit = np.stack([np.cos(turn), np.sin(turn), np.cos(height)], axis=1)
    unit[:, :2] *= np.sin(height)[:, None]
    return 35 * unit + [side * 40, 0, 0], ConvexHull(unit).simplices


def write_mesh(path: Path, side: int) -> str:
    points, triangles = sphere(side)
    arrays = [
        nib.gifti.GiftiDataArray(points.astype("f4"), intent="NIFTI_INTENT_POINTSET"),
        nib.gifti.GiftiDataArray(triangles.astype("i4"), intent="NIFTI_INTENT_TRIANGLE"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)
    return str(path)


def axis(below: bool = True, medial: int = MEDIAL) -> BrainModelAxis:
    """Both hemispheres without their first vertices (the medial wall), and 2 x 2 x 2 voxels."""
    own = np.arange(medial, VERTICES)
    both = BrainModelAxis.from_surface(own, VERTICES, name="CortexLeft")
    both += BrainModelAxis.from_surface(own, VERTICES, name="CortexRight")
    if below:
        mask, affine = np.ones((2, 2, 2), bool), np.diag([2.0, 2, 2, 1])
        both += BrainModelAxis.from_mask(mask, name="thalamus_left", affine=affine)
    return both


def area_of(brain: BrainModelAxis) -> np.ndarray:
    """V1 behind, MT before it, the rest has no name; per grayordinate 0, 1 or 2."""
    y = sphere(1)[0][np.maximum(brain.vertex, 0), 1]
    return np.where(~brain.surface_mask, 0, np.where(y < -15, 1, np.where(y < 0, 2, 0)))


def write_atlas(path: Path, spelt: str = "{side}_{area}_ROI", turned: bool = False) -> str:
    """A label file of the cortex with its medial wall; `turned`: right numbered before left."""
    brain = axis(below=False, medial=0)
    right = brain.name == "CIFTI_STRUCTURE_CORTEX_RIGHT"
    area, both = area_of(brain), "{side}" in spelt
    numbers = np.where(area > 0, area + 2 * (right != turned) * both, 0)
    names = {0: ("???", (0, 0, 0, 0))}
    for k, side in enumerate("RL" if turned else "LR"):
        for number, name in ((1, "V1"), (2, "MT")):
            names[number + 2 * k * both] = (spelt.format(side=side, area=name), (1, 0, 0, 1))
    labels = LabelAxis(["areas"], [names])
    path.parent.mkdir(parents=True, exist_ok=True)
    Cifti2Image(numbers[None].astype("f4"), (labels, brain)).to_filename(path)
    return str(path)


def write_run(
    raw: Path,
    out: Path,
    stem: str,
    bold: np.ndarray,
    events: str = "onset\tduration\tstim_file\n0\t40\tfilm-1.mp4\n",
    brain: BrainModelAxis | None = None,
) -> Path:
    """A raw run of no interest, and its dtseries with sidecar and confounds."""
    brain = axis() if brain is None else brain
    for root, about in ((raw, {}), (out, {"DatasetType": "derivative"})):
        (root / stem.split("_")[0] / "func").mkdir(parents=True, exist_ok=True)
        text = json.dumps({"Name": "small", "BIDSVersion": "1.9.0"} | about)
        (root / "dataset_description.json").write_text(text)
    here, there = (root / stem.split("_")[0] / "func" / stem for root in (raw, out))
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2, 2), "f4"), np.eye(4)), f"{here}_bold.nii.gz")
    Path(f"{here}_bold.json").write_text(json.dumps({"RepetitionTime": TR, "TaskName": "film"}))
    Path(f"{here}_events.tsv").write_text(events)
    path = Path(f"{there}_{SPACE}_bold.dtseries.nii")
    series = SeriesAxis(0, TR, len(bold))
    Cifti2Image(bold.astype("f4"), (series, brain)).to_filename(path)
    Path(f"{there}_{SPACE}_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    moved = pd.DataFrame({"framewise_displacement": [np.nan] + [0.1] * (len(bold) - 1)})
    moved["cosine00"] = np.cos(np.pi * (np.arange(len(bold)) + 0.5) / len(bold))
    moved.to_csv(f"{there}_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
    Path(f"{there}_desc-confounds_timeseries.json").write_text("{}")
    return path
