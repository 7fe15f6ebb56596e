"""A synthetic copy of Wen 2018's layout: its names, lengths and traps, on a grid that is tiny."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import nibabel as nib
import numpy as np

# FSL's MNI152 in coarse: x runs from right to left.
EDGE = 18  # mm
AFFINE = np.array([[-EDGE, 0, 0, 90.0], [0, EDGE, 0, -126], [0, 0, EDGE, -72], [0, 0, 0, 1]])
SHAPE = (11, 13, 11)
FILM_FPS = 1

SEGMENTS = [f"seg{k}" for k in range(1, 19)]
TESTS = [f"test{k}" for k in range(1, 6)]
STIMULI = SEGMENTS + TESTS


def volumes(stimulus: str) -> int:
    """How many there are: data.md's facts, and not the package's."""
    return 246 if stimulus in ("test2", "test3", "test4", "test5") else 245


def film(path: Path, seconds: int = 480, size: int = 32, hue: int = 0) -> Path:
    """A film of one frame a second whose colours change every eight, differently for each hue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(hue)
    colours = rng.integers(0, 256, (seconds // 8 + 1, 2, 2, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FILM_FPS)
        stream.width = stream.height = size
        stream.options = {"preset": "ultrafast"}
        for k in range(seconds * FILM_FPS):
            frame = np.kron(colours[k // (8 * FILM_FPS)], np.ones((size // 2, size // 2, 1)))
            frame = av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def films(root: Path, stimuli: Sequence[str], *, alike: bool = False) -> None:
    """The films; `alike` encodes one and copies it."""
    first = film(root / "stimuli" / f"{stimuli[0]}.mp4")
    for k, name in enumerate(stimuli[1:], start=1):
        path = root / "stimuli" / f"{name}.mp4"
        _ = shutil.copy(first, path) if alike else film(path, hue=k)


def scan_path(root: Path, subject: int, stimulus: str, repeat: int, kind: str = "mni") -> Path:
    """Where a run lies, the dot of one name included."""
    dot = "." if (subject, stimulus, repeat) == (1, "test1", 9) else "_"
    end = {"mni": f"{dot}mni.nii.gz", "cifti": "_Atlas.dtseries.nii"}[kind]
    folder = root / f"subject{subject}" / "fmri" / stimulus / kind
    return folder / f"{stimulus}_{repeat}{end}"


def volume(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write BOLD (x, y, z, time) with a time step in its header that is wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=4)
    image.header["pixdim"][4] = 1.0
    nib.save(image, path)
    return path


def grayordinates(
    path: Path, data: np.ndarray, brain: nib.cifti2.BrainModelAxis | None = None
) -> Path:
    """Write a dtseries of (time, grayordinates), if not told else voxels of one structure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if brain is None:
        mask = np.ones((data.shape[1], 1, 1), bool)
        brain = nib.cifti2.BrainModelAxis.from_mask(mask, affine=np.eye(4), name="brain_stem")
    image = nib.Cifti2Image(data, header=(nib.cifti2.SeriesAxis(0, 1, len(data)), brain))
    image.to_filename(path)
    return path


def nothing(scan: tuple[int, str, int], shape: tuple[int, ...]) -> np.ndarray:
    """BOLD of which only the header counts."""
    return np.zeros((1, 1, 1, shape[3]), np.int16)


def noise(scan: tuple[int, str, int], shape: tuple[int, ...]) -> np.ndarray:
    """BOLD in which the film is not seen."""
    subject, stimulus, repeat = scan
    seed = subject * 10_000 + STIMULI.index(stimulus) * 100 + repeat
    bold = 1000 + 10 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return bold.astype(np.int16)


def data_set(
    root: Path,
    subjects: Sequence[int] = (1, 2, 3),
    stimuli: Sequence[str] = STIMULI,
    kind: str = "mni",
    bold: Callable[[tuple[int, str, int], tuple[int, ...]], np.ndarray] = nothing,
    brain: nib.cifti2.BrainModelAxis | None = None,
) -> Path:
    """Every run of some subjects, also the one that is out of step; films are made apart.

    `brain` is the axis of grayordinates, where it is to be another than that of one structure.
    """
    shape = SHAPE if brain is None else (len(brain), 1, 1)
    for subject in subjects:
        for stimulus in stimuli:
            for repeat in range(1, 11 if stimulus in TESTS else 3):
                path = scan_path(root, subject, stimulus, repeat, kind)
                data = bold((subject, stimulus, repeat), (*shape, volumes(stimulus)))
                if kind == "mni":
                    volume(path, data)
                else:
                    series = data.reshape(-1, data.shape[3]).T.astype(np.float32)
                    grayordinates(path, series, brain)
    return root
