"""Wen 2018 as it lies on disk: which of its files are there, and whether they are whole.

Only headers are read: a subject's 86 volumes take a tenth of a second.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import nibabel as nib
from nibabel.spatialimages import HeaderDataError

from llm4brain.errors import UserError
from llm4brain.preprocess.images import BROKEN
from llm4brain.wen2018 import facts
from llm4brain.wen2018.facts import Kind, Scan

NAME = "video_fmri_dataset"
# Each archive unpacks to a folder of its own name; a root may be above several of them.
WITHIN = ("", NAME, f"*/{NAME}", f"*/*/{NAME}")
SLACK = 1.0  # s that a film may lack


def homes(roots: Iterable[str | Path]) -> list[Path]:
    """The folders that hold `stimuli/` or `subjectN/`: the roots, or what lies below them.

    Raises:
        UserError: a root does not exist, or no such folder is in any.
    """
    roots = [Path(root) for root in roots]
    gone = [str(root) for root in roots if not root.is_dir()]
    if gone:
        raise UserError(", ".join(gone), "is not a folder", "correct the path (wen2018.roots)")
    parts = ("stimuli", *(f"subject{k}" for k in facts.SUBJECTS))
    found = [
        home
        for root in roots
        for pattern in WITHIN
        for home in (sorted(root.glob(pattern)) if pattern else [root])
        if any((home / part).is_dir() for part in parts)
    ]
    if not found:
        raise UserError(
            ", ".join(map(str, roots)),
            f"holds no {NAME} with stimuli/ or subject1/",
            "unpack the archives and the bundle.zip in each (docs/wen2018.md)",
        )
    return list(dict.fromkeys(found))


def stimuli(roots: Iterable[str | Path]) -> Path:
    """The folder of the films: the first that holds any."""
    folders = [home / "stimuli" for home in homes(roots)]
    return next((folder for folder in folders if any(folder.glob("*.mp4"))), folders[0])


def find(where: Sequence[Path], names: Iterable[str]) -> Path | None:
    """The first of the files that is in any of the folders."""
    return next((p for n in names for home in where if (p := home / n).is_file()), None)


@dataclass(frozen=True)
class Found:
    """What is there of some films and scans.

    Attributes:
        films, scans: where each lies.
        missing_films, missing_scans: which are nowhere.
    """

    films: dict[str, Path]
    scans: dict[Scan, Path]
    missing_films: list[str]
    missing_scans: list[Scan]


def look(where: Sequence[Path], kind: Kind, films: Iterable[str], scans: Iterable[Scan]) -> Found:
    """Look for films and scans in the folders of `homes`."""
    paths = {film: find(where, [f"stimuli/{film}"]) for film in films}
    images = {scan: find(where, scan.files(kind)) for scan in scans}
    return Found(
        {film: path for film, path in paths.items() if path},
        {scan: path for scan, path in images.items() if path},
        [film for film, path in paths.items() if not path],
        [scan for scan, path in images.items() if not path],
    )


def fault_of_scan(scan: Scan, path: Path) -> str:
    """What is wrong with a scan's file, by its header and its size; nothing: an empty text."""
    try:
        if path.suffix == ".gz":
            header = nib.load(path).header
            axis, size = 3, _unpacked(path, _bytes(header))
        else:  # CIFTI is NIfTI-2 with time on its fifth axis; its XML is not read
            with path.open("rb") as file:
                header = nib.Nifti2Header.from_fileobj(file)
            axis, size = 4, path.stat().st_size
    except (*BROKEN, HeaderDataError) as error:
        return f"is not a whole file ({str(error).splitlines()[0]})"
    shape = header.get_data_shape()
    volumes = shape[axis] if len(shape) > axis else 1
    if volumes != scan.volumes:
        return f"has {volumes} volumes, not {scan.volumes}"
    if size < _bytes(header):
        return f"is cut off ({size} of {_bytes(header)} bytes)"
    if axis == 3 and not (header["sform_code"] or header["qform_code"]):
        return "does not say where it lies in space (sform and qform codes are 0)"
    return ""


def _bytes(header: nib.Nifti1Header) -> int:
    """How long the file is, unpacked, that a header begins."""
    data = math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    return int(header["vox_offset"]) + data


def _unpacked(path: Path, expected: int) -> int:
    """How many bytes a gzip file holds: by its last four, or read through if these cannot be.

    They are the length modulo 2^32 of what was packed last, which is the whole of it unless the
    file is cut off or was packed in pieces.
    """
    with path.open("rb") as file:
        file.seek(-4, 2)
        more = (int.from_bytes(file.read(), "little") - expected) % 2**32
    if more < 2**20:  # some programs pad
        return expected + more
    size = 0
    try:
        with gzip.open(path) as file:
            while chunk := len(file.read(2**24)):
                size += chunk
    except EOFError:
        pass  # the archive ends before its contents do
    return size


def fault_of_film(path: Path) -> str:
    """What is wrong with a film's file, by its header; nothing: an empty text."""
    try:
        with av.open(str(path)) as container:
            length = float((container.duration or 0) / av.time_base)
    except (av.error.FFmpegError, OSError) as error:
        return f"is not a whole video ({error.strerror or error})"
    if length < facts.FILM_SECONDS - SLACK:
        return f"lasts {length:.0f} s, not {facts.FILM_SECONDS:.0f}"
    return ""


def faults(found: Found, kind: Kind) -> list[str]:
    """Everything that is missing or not whole, a sentence for each subject and for the films."""
    said = []
    if found.missing_films:
        said.append(f"stimuli lack {', '.join(found.missing_films)}")
    for subject in sorted({scan.subject for scan in found.missing_scans}):
        missing = [scan for scan in found.missing_scans if scan.subject == subject]
        some = any(scan.subject == subject for scan in found.scans)
        names = ", ".join(scan.name for scan in missing) if some else "every run"
        said.append(f"subject{subject} lacks {names} of {kind}")
    return said + spoilt(found)


def spoilt(found: Found) -> list[str]:
    """What is there and not whole."""
    films = ((path, fault_of_film(path)) for path in found.films.values())
    images = ((path, fault_of_scan(scan, path)) for scan, path in found.scans.items())
    return [f"{path} {fault}" for part in (films, images) for path, fault in part if fault]


def require(roots: Sequence[str], kind: Kind, films: Sequence[str], scans: Sequence[Scan]) -> None:
    """All that a run reads has to be there, and whole.

    Raises:
        UserError: one line that names every file that is missing or short.
    """
    wrong = faults(look(homes(roots), kind, films, scans), kind)
    if wrong:
        raise UserError(
            "wen2018.roots",
            "; ".join(wrong),
            "fetch them again, add the folder they lie in, or leave runs out (wen2018.leave_out)",
        )
