"""A raw data set and derivatives of it, made by hand, for tests of BOLD."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
from preprocess_data import write_json, write_run

from llm4brain.preprocess.bold import subject_bold
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.names import Recording
from llm4brain.sections import BoldSettings

SPACE = "MNI152NLin2009cAsym"
SETTINGS = BoldSettings(voxel_mm=12)
STEM = "sub-01_task-film_run-01"
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


class Set:
    """A raw data set and fMRIPrep-like derivatives of it, made by hand."""

    def __init__(self, root, volumes=80, tr=1.5, start=0.75):
        self.raw, self.out = root / "raw", root / "out"
        self.volumes, self.tr, self.start = volumes, tr, start
        self.grid = mni_grid(12)
        write_json(
            self.out / "dataset_description.json",
            {"Name": "d", "BIDSVersion": "1.9.0", "DatasetType": "derivative"},
        )

    def add(self, stem=STEM, *, bold=None, affine=None, mask=None, resolution="2", **raw):
        """A run; BOLD of noise if none is given. Returns its Recording."""
        rng = np.random.default_rng(0)
        affine = self.grid.affine if affine is None else affine
        if bold is None:
            bold = 1000 + 10 * rng.standard_normal((*self.grid.shape, self.volumes))
        mask = np.ones(bold.shape[:3]) if mask is None else mask
        write_run(self.raw, stem, volumes=2, **({"tr": self.tr} | raw))
        run = Recording.parse(f"{stem}_bold.nii.gz")
        (self.out / run.folder).mkdir(parents=True, exist_ok=True)
        # fMRIPrep names the resolution, the minimal backend has none
        image = nib.Nifti1Image(np.asarray(bold, np.float32), affine)
        nib.save(image, self.out / run.bold(SPACE, resolution))
        nib.save(
            nib.Nifti1Image(mask.astype(np.uint8), affine), self.out / run.mask(SPACE, resolution)
        )
        write_json(
            self.out / run.bold_json(SPACE, resolution),
            {"RepetitionTime": self.tr, "StartTime": self.start, "TaskName": "film"},
        )
        self.confounds(run, self.table(bold.shape[3]))
        return run

    def table(self, volumes):
        """Confounds as fMRIPrep writes them: the first row of derivatives is n/a."""
        rng = np.random.default_rng(1)
        columns = {}
        for name in (*MOTION, "csf", "white_matter"):
            values = rng.standard_normal(volumes)
            slope = np.concatenate([[np.nan], np.diff(values)])
            columns |= {name: values, f"{name}_derivative1": slope}
            columns |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": slope**2}
        columns["framewise_displacement"] = np.concatenate([[np.nan], np.full(volumes - 1, 0.1)])
        columns["cosine00"] = np.cos(np.pi * (np.arange(volumes) + 0.5) / volumes)
        return pd.DataFrame(columns)

    def confounds(self, run, table):
        table.to_csv(self.out / run.confounds(), sep="\t", index=False, na_rep="n/a")
        write_json(self.out / run.confounds_json(), {})

    def read(self, settings=SETTINGS, subject="01"):
        """All of a subject's arrays, and their description."""
        made = subject_bold(self.raw, self.out, subject, settings)
        return SimpleNamespace(arrays=dict(made.arrays()), meta=made.meta, shapes=made.shapes)
