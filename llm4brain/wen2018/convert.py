"""Wen 2018's files -> a BIDS data set of links and events, and derivatives by fMRIPrep's names.

Nothing is trimmed and no volume is copied. What is written beside the links is said by the
published facts: events, TR, that there are no confounds; and the brain, by the template.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_brain_mask
from scipy import ndimage

from llm4brain import __version__
from llm4brain.errors import UserError
from llm4brain.io import atomic_write, keep_only, write_json, write_table
from llm4brain.preprocess import images
from llm4brain.preprocess.clean import LEAST_COVER
from llm4brain.sections import Wen2018Settings
from llm4brain.wen2018 import facts
from llm4brain.wen2018.facts import Kind, Scan

SOURCE = "doi:10.4231/R7SF2TCW"
_README = """\
Wen 2018 (CC2017): three people who watched films, as links to the files of the download
(10.4231/R7SF2TCW, CC0), arranged by LLM4Brain as a BIDS data set. It holds no raw scans: the
authors' preprocessed BOLD lies beside it, in derivatives.

stimuli/seg1.mp4 ...  the films, 480 s each
sub-01/func/          one events.tsv a run; the film is the task, its repeat the run

An onset of -2 s says that recording began 2 s after the film. Nothing was trimmed, so no lag is in
these times.
"""
NO_CONFOUNDS = "n/a: Wen 2018 is published without motion parameters and other confounds"


def link(source: Path, at: Path) -> None:
    """Make `at` a link to a file, in place of what was there; relative if `source` is."""
    at.parent.mkdir(parents=True, exist_ok=True)
    at.unlink(missing_ok=True)
    relative = os.path.relpath(source.resolve(), at.parent.resolve())
    at.symlink_to(source if source.is_absolute() else relative)


def write_participants(folder: Path, labels: Sequence[str]) -> None:
    """List the subjects at the root of the data set."""
    write_table(
        folder / "participants.tsv", pd.DataFrame({"participant_id": [f"sub-{s}" for s in labels]})
    )


def link_films(sources: Iterable[Path], folder: Path) -> None:
    """Make `folder` hold links to the films, and to captions that lie beside them."""
    names = set()
    for source in sources:
        link(source, folder / source.name)
        names.add(source.name)
    keep_only(folder, names)


def describe(bids: Path, out: Path) -> None:
    """The two data sets' own files: the same bytes whichever subject's job writes them."""
    about = {"BIDSVersion": "1.10.0", "License": "CC0", "SourceDatasets": [{"URL": SOURCE}]}
    made = [{"Name": "llm4brain.wen2018", "Version": __version__}]
    raw = {"Name": "Wen 2018 (CC2017)", "DatasetType": "raw", "GeneratedBy": made}
    derived = {
        "Name": "Wen 2018 (CC2017), preprocessed by its authors",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "the authors of Wen 2018"}, *made],
    }
    write_json(bids / "dataset_description.json", raw | about)
    write_json(out / "dataset_description.json", derived | about)
    for path, text in ((bids / "README", _README), (out / ".bidsignore", "*_timeseries.*\n")):
        with atomic_write(path) as partial:
            partial.write_text(text)


def write_subject(label: str, files: Sequence[Path], bids: Path, out: Path) -> None:
    """Write a subject's events to `bids` and its derivatives to `out`; say which runs are left out.

    Args:
        label: of the subject, without `sub-`.
        files: its scans as they lie on disk, of one kind.

    Raises:
        UserError: a file that is none of Wen 2018's, or volumes that do not lie in MNI space.
    """
    describe(bids, out)
    runs = {}
    for path in files:
        scan = Scan.parse(int(label), path)
        if scan is None:
            raise UserError(path, "is not named as a run of Wen 2018", "name it seg1_1_mni.nii.gz")
        runs[scan] = path
    raw, derived = set(), set()
    for scan, path in sorted(runs.items()):
        raw.add(_write_events(scan, label, bids))
        written = _write_volumes if path.name.endswith(".nii.gz") else _write_grayordinates
        derived |= written(scan, path, label, out)
    for stimulus in dict.fromkeys(scan.stimulus for scan in sorted(runs)):
        for repeat in facts.repeats(stimulus):
            scan = Scan(int(label), stimulus, repeat)
            if scan not in runs:
                why = facts.LEFT_OUT.get((scan.subject, scan.name), "wen2018.leave_out names it")
                print(f"{scan.recording(label).stem}: left out, {why}", file=sys.stderr)
    # runs of other settings
    keep_only(bids / f"sub-{label}" / "func", raw)
    keep_only(out / f"sub-{label}" / "func", derived)
    print(f"sub-{label}: {len(runs)} runs")


def _write_events(scan: Scan, label: str, bids: Path) -> str:
    run = scan.recording(label)
    row = {
        "onset": scan.onset,
        "duration": facts.FILM_SECONDS,
        "trial_type": "film",
        "stim_file": f"{scan.stimulus}.mp4",
    }
    path = bids / run.folder / f"{run.stem}_events.tsv"
    write_table(path, pd.DataFrame([row]))
    return path.name


def _write_volumes(scan: Scan, path: Path, label: str, out: Path) -> set[str]:
    run, space = scan.recording(label), space_of("mni")
    mask, affine = brain(path)
    images.write(out / run.mask(space), mask, affine)
    return _write_run(scan, path, label, out, run.bold(space), run.bold_json(space)) | {
        Path(run.mask(space)).name
    }


def _write_grayordinates(scan: Scan, path: Path, label: str, out: Path) -> set[str]:
    bold = scan.recording(label).cifti()
    return _write_run(scan, path, label, out, bold, bold.replace(".dtseries.nii", ".json"))


def _write_run(scan: Scan, path: Path, label: str, out: Path, bold: str, sidecar: str) -> set[str]:
    """Link a run's BOLD, and write what is known of it; returns the names of the files."""
    run = scan.recording(label)
    # no motion parameters, so no volume is marked as moved
    unknown = pd.DataFrame({"framewise_displacement": np.full(scan.volumes, np.nan)})
    write_table(out / run.confounds(), unknown)
    about = {"framewise_displacement": {"Description": NO_CONFOUNDS}}
    write_json(out / run.confounds_json(), about)
    write_json(out / sidecar, _sidecar(scan))
    link(path, out / bold)
    names = (bold, sidecar, run.confounds(), run.confounds_json())
    return {Path(name).name for name in names}


def _sidecar(scan: Scan) -> dict[str, Any]:
    return {
        "Description": "as published; the time step of the NIfTI header is not to be trusted",
        "RepetitionTime": facts.TR,
        "StartTime": 0.0,
        "TaskName": scan.stimulus,
    }


def space_of(kind: Kind) -> str:
    """The `space-` of a kind's derivatives."""
    return Wen2018Settings(kind=kind).space


def brain(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where a run's brain is: the template's, where the first volume holds anything at all.

    Returns:
        (x, y, z) bool on the run's grid, and its (4, 4) affine.

    Raises:
        UserError: less than half of the template's brain is there.
    """
    try:
        image = nib.load(path)
        first = np.asarray(image.dataobj[..., 0])  # the rest is not unpacked
    except images.BROKEN as error:
        raise UserError(path, f"is not a whole NIfTI file ({error})", "fetch it again") from None
    template = _template(first.shape, tuple(image.affine.ravel()))
    mask = template & np.isfinite(first) & (first != 0)
    cover = mask.sum() * abs(np.linalg.det(image.affine[:3, :3])) / _mni_brain()[2]
    if cover < LEAST_COVER:
        raise UserError(
            path,
            f"covers {cover:.0%} of the MNI brain",
            "see that its affine is in MNI space, or leave it out (wen2018.leave_out)",
        )
    return mask, np.array(image.affine, dtype=float)


@lru_cache(maxsize=4)
def _template(shape: tuple[int, ...], affine: tuple[float, ...]) -> np.ndarray:
    """nilearn's MNI152 brain on a grid. It is ICBM 2009a, some mm off FSL's at most."""
    whole_brain, its_affine, _ = _mni_brain()
    index = np.linalg.inv(its_affine) @ np.reshape(affine, (4, 4))  # voxel -> template's voxel
    at = index[:3, :3] @ np.indices(shape).reshape(3, -1) + index[:3, 3:]  # (3, voxels)
    return ndimage.map_coordinates(whole_brain, at, order=0).reshape(shape) > 0


@cache
def _mni_brain() -> tuple[np.ndarray, np.ndarray, float]:
    """The template's brain (x, y, z), its affine and its size in mm3."""
    mask = load_mni152_brain_mask(resolution=2)
    inside = np.asarray(mask.dataobj, np.uint8)
    return inside, mask.affine, inside.sum() * abs(np.linalg.det(mask.affine[:3, :3]))
