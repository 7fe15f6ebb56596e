"""NIfTI in and out: every way in which a file can be bad told in one line, the same bytes twice."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from llm4brain.errors import UserError
from llm4brain.io import missing, whole

BROKEN = (OSError, EOFError, zlib.error, ImageFileError, ValueError)


def read(path: Path, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read an image.

    Args:
        axes: 4 for BOLD (x, y, z, time), 3 for a mask.

    Returns:
        data as float32, and its (4, 4) affine.

    Raises:
        UserError: missing, truncated or no NIfTI; a wrong number of axes.
    """
    image = _open(path, axes)
    try:
        data = np.asarray(image.dataobj, dtype=np.float32)
    except BROKEN as error:
        raise _broken(path, error) from None
    return data, np.array(image.affine, dtype=float)


def volumes(path: Path) -> int:
    """How many volumes a 4D image has, by its header.

    Raises:
        UserError: as `read` does.
    """
    return _open(path, 4).shape[3]


def repetition_time(path: Path) -> float | None:
    """TR (s) by a 4D image's header; None where that has none, or not its unit.

    Raises:
        UserError: as `read` does.
    """
    header = _open(path, 4).header
    unit = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1])
    tr = float(header["pixdim"][4])
    return tr * unit if unit and np.isfinite(tr) and tr > 0 else None


def _open(path: Path, axes: int) -> nib.Nifti1Image:
    if not path.is_file():
        raise missing(path, "fetch it, or correct the data set")
    try:
        image = nib.load(path)
    except BROKEN as error:
        raise _broken(path, error) from None
    if len(image.shape) != axes or (axes == 4 and image.shape[3] < 2):
        shape = " x ".join(map(str, image.shape))
        raise UserError(
            path,
            f"has shape {shape}, not {axes} axes" + (" with several volumes" if axes == 4 else ""),
            "convert the run as one 4D file" if axes == 4 else "make the mask again",
        )
    return image


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(path, f"is not a whole NIfTI file ({error})", "fetch or convert it again")


def check(path: Path, data: np.ndarray) -> None:
    """Refuse BOLD (x, y, z, time) that holds NaN or empty volumes.

    Raises:
        UserError: which volumes, and what to do.
    """
    wrong = ~np.isfinite(data).all(axis=(0, 1, 2))
    if wrong.any():
        raise UserError(
            path,
            f"holds NaN or infinite values in {_volumes(wrong)}",
            "convert it again, or leave the run out",
        )
    empty = ~data.any(axis=(0, 1, 2))
    if empty.all():
        raise UserError(path, "is zero everywhere", "convert it again, or leave the run out")
    if empty.any():
        raise UserError(
            path, f"is zero everywhere in {_volumes(empty)}", "cut the run where the scan ended"
        )


def _volumes(which: np.ndarray) -> str:
    rows = np.flatnonzero(which)
    return f"{len(rows)} of {len(which)} volumes, the first is number {rows[0]}"


def write(path: Path, data: np.ndarray, affine: np.ndarray, tr: float | None = None) -> None:
    """Write `.nii.gz`, whole; equal data are equal bytes (nibabel's gzip holds no time).

    BOLD is stored as scaled int16: half the size of float32, at an error (range / 65535) far
    below thermal noise.
    """
    dtype = np.int16 if data.ndim == 4 else np.uint8
    image = nib.Nifti1Image(data if data.ndim == 4 else data.astype(dtype), affine)
    image.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=4)  # 4: MNI space
    image.set_qform(affine, code=4)
    if tr is not None:
        image.header["pixdim"][4] = tr
    with whole(path) as partial:
        nib.save(image, partial)
