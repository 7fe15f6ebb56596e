"""NIfTI in and out: every way in which a file can be bad told in one line, the same bytes twice."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from llm4brain.errors import UserError, warn
from llm4brain.io import atomic_write, missing

BROKEN = (OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ValueError)


def read(path: Path, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read an image.

    Args:
        axes: 4 for BOLD (x, y, z, time), 3 for a mask.

    Returns:
        data as float32, and its (4, 4) affine.

    Raises:
        UserError: missing, truncated, damaged or no NIfTI; a wrong number of axes.
    """
    image = _open(path, axes)
    try:
        if path.suffix == ".gz":
            # to its end, where gzip's checksum is, which nibabel does not come to
            with gzip.open(path) as file:
                data = np.asarray(type(image).from_stream(file).dataobj, dtype=np.float32)
                while file.read(2**20):
                    pass
        else:
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


def grid(path: Path, axes: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape in space and (4, 4) affine of an image, by its header.

    Raises:
        UserError: as `read` does.
    """
    image = _open(path, axes)
    return image.shape[:3], np.array(image.affine, dtype=float)


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
    check_slope(path, image)
    _geometry(path, image)
    return image


def check_slope(path: Path, image: nib.spatialimages.SpatialImage) -> None:
    """Refuse an image whose header turns its values upside down.

    Raises:
        UserError: a negative scl_slope.
    """
    slope = getattr(image.dataobj, "slope", 1)
    if slope < 0:
        wrong = f"has a scl_slope of {slope:g} in its header, which turns its values upside down"
        raise UserError(path, wrong, "convert it again")


def _geometry(path: Path, image: nib.Nifti1Image) -> None:
    """Warn of a header whose two affines differ, or that has none."""
    try:
        (qform, q), (sform, s) = (
            getattr(image.header, name)(coded=True) for name in ("get_qform", "get_sform")
        )
    except BROKEN as error:
        raise _broken(path, error) from None
    if qform is None and sform is None:
        warn(
            f"{path}: has neither qform nor sform (both codes are 0); the affine is made up of the "
            "voxel sizes alone, its origin in the middle of the image"
        )
    elif qform is not None and sform is not None:
        centre = (np.array([*image.shape[:3], 2.0]) - 1) / 2
        centre[3] = 1
        apart = np.linalg.norm((qform - sform) @ centre)
        turns = [m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (qform, sform)]
        cosine = (np.trace(turns[0].T @ turns[1]) - 1) / 2
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        if apart > 1 or angle > 1:
            warn(
                f"{path}: its qform (code {q}) and its sform (code {s}) differ by {apart:.1f} mm "
                f"and {angle:.1f} degrees; the sform is used"
            )


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(path, f"is not a whole NIfTI file ({error})", "fetch or convert it again")


def check(path: Path, data: np.ndarray) -> None:
    """Refuse BOLD (x, y, z, time) that holds NaN or empty volumes, or is constant.

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
    if all(np.array_equal(data[..., k], data[..., 0]) for k in range(1, data.shape[3])):
        raise UserError(path, "is the same in every volume", "convert it again, or leave it out")


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
    with atomic_write(path) as partial:
        nib.save(image, partial)
