"""Apply an exported model to new BOLD: captions with their times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llm4brain.align.reader import BrainReader
from llm4brain.clips import first_volume, window_volumes
from llm4brain.errors import UserError, require_one
from llm4brain.io import Arrays, read_json, read_table
from llm4brain.preprocess.bold import clean_derivative, timing
from llm4brain.preprocess.find import Derived, require_file, sidecar
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.names import Recording
from llm4brain.release.export import KNOWN, READER, SETTINGS, VIDEO_LLM
from llm4brain.release.noise import against_noise
from llm4brain.sections import BoldSettings
from llm4brain.tune.lora import load_lora
from llm4brain.video.videollm import VideoLLM

PREPROC = "_desc-preproc_bold.nii.gz"


@dataclass(frozen=True)
class BrainDecoder:
    """A trained decoder: BOLD in, captions out.

    Attributes:
        reader: maps windows of BOLD to query tokens.
        llm: the video-LLM with the LoRA that was tuned on fMRI.
        voxels: (positions, 3) of the model's grid.
        volumes: number of volumes in a window.
        known: (clips, n_components) of the train clips, for the test against noise.
        settings: of the training run.

    Examples:
        >>> decoder = BrainDecoder.from_pretrained("my-model")  # doctest: +SKIP
        >>> decoder.decode("sub-01_..._desc-preproc_bold.nii.gz", interval=4.0)  # doctest: +SKIP
    """

    reader: BrainReader
    llm: VideoLLM
    voxels: np.ndarray
    volumes: int
    known: np.ndarray
    settings: dict[str, Any]

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device | None = None
    ) -> BrainDecoder:
        """Load a folder written by `llm4brain export`.

        Args:
            device: of the LLM; None: a GPU if there is one.

        Raises:
            UserError: the folder holds no exported model.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise UserError(folder, "is not an exported model", "make one: llm4brain export DIR")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        settings = read_json(folder / SETTINGS)
        how = settings.get("loaded", {})  # missing in files of earlier versions
        llm = VideoLLM.load(folder / VIDEO_LLM, device=torch.device(device), **how)
        load_lora(llm, folder)
        arrays, known = Arrays(folder / READER), Arrays(folder / KNOWN)["components"]
        window = arrays.meta["window_volumes"]
        return cls(BrainReader.load(arrays), llm, arrays["grid.voxels"], window, known, settings)

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects with a readout of their own."""
        return sorted(set(self.reader.weights) - {"shared"})

    def predict(self, windows: np.ndarray, subject: str = "") -> list[str]:
        """Captions for windows of clean BOLD on the model's voxels.

        Args:
            windows: (n, volumes, positions), each position z-scored over its run.
            subject: label; for a subject that the model does not know, the shared readout is used.
        """
        return self._say(self.reader.components(windows, np.full(len(windows), subject)))

    def _say(self, components: np.ndarray) -> list[str]:
        tokens = torch.from_numpy(self.reader.query_tokens(components))
        return self.llm.generate(tokens, self.settings["max_new_tokens"])

    def decode(
        self,
        bold: str | Path,
        events: Path | None = None,
        interval: float | None = None,
        subject: str = "",
        seed: int = 0,
    ) -> pd.DataFrame:
        """Captions for one run.

        Args:
            bold: fMRIPrep's desc-preproc_bold.nii.gz, with its mask, confounds and sidecar in the
                same folder.
            events: table with onset and duration (s) of what is decoded; longer than a clip, it is
                cut into clips.
            interval: s between captions, from the start of the run; instead of events.
            subject: one of `subjects`; empty for a new person, decoded with the shared readout.
            seed: of the noise.

        Returns:
            onset, duration (s), caption, valid (fraction of valid volumes in the window), match
            (correlation of the prediction with the nearest train clip), and p_noise: the fraction
            of predictions from noise, with the run's own spatial and temporal structure, that come
            as close to a train clip; its minimum is 0.001 (`against_noise`). It does not tell
            whether the caption is right. Times whose window exceeds the run have no row.

        Raises:
            UserError: the run does not match the training data (space, TR, voxels), or a file or an
                argument is invalid.
        """
        path, clips = Path(bold), self.settings["clips"]
        settings = BoldSettings.model_validate(self.settings["bold"])
        if settings.space == "fsLR":
            wrong = (
                "reads grayordinates (bold.space: fsLR), and runs are decoded from volumes alone"
            )
            raise UserError("model", wrong, "decode its subjects in the workflow")
        run = run_of(path)
        if f"_space-{settings.space}_" not in path.name:
            raise UserError(
                path, f"is not in {settings.space}", "give the run in the model's space"
            )
        if subject and subject not in self.subjects:
            wrong = f"is not a subject of the training ({', '.join(self.subjects)})"
            raise UserError(f"subject {subject}", wrong, "leave it out: the shared readout is used")
        tr, start = timing(run)
        span = window_volumes(clips["window"], tr)
        if span != self.volumes:
            wrong = f"has {span} volumes per window at its TR of {tr:g} s; the model reads "
            wrong += str(self.volumes)
            raise UserError(path, wrong, "resample it to the TR that the model was trained at")
        grid = mni_grid(settings.voxel_mm)
        if not np.array_equal(grid.voxels, self.voxels):
            raise UserError(path, "lies on other voxels than the model reads", "export it again")
        clean, valid = clean_derivative(run, tr, grid, settings)
        times = moments(events, interval, clips["duration"], start + tr * len(clean))
        parts = [(t, first_volume(t + clips["lag"], tr, start)) for t in times]
        parts = [(t, k) for t, k in parts if k >= 0 and k + span <= len(clean)]
        if not parts:
            raise UserError(path, "is too short for any window", "give a longer run or other times")
        windows = np.stack([clean[k : k + span] for _, k in parts]).astype(np.float32)

        def read(given: np.ndarray) -> np.ndarray:
            return self.reader.components(given, np.full(len(given), subject))

        found, match, p = against_noise(read, windows, clean, self.known, seed)
        return pd.DataFrame(
            {
                "onset": [t for t, _ in parts],
                "duration": clips["duration"],
                "caption": self._say(found),
                "valid": [float(valid[k : k + span].mean()) for _, k in parts],
                "match": match,
                "p_noise": p,
            }
        )


def run_of(path: Path) -> Derived:
    """A preprocessed run and the files that fMRIPrep writes with it.

    Raises:
        UserError: its name does not follow fMRIPrep's pattern, or a file is missing.
    """
    if not path.name.endswith(PREPROC):
        raise UserError(path, f"does not end in {PREPROC}", "give fMRIPrep's preprocessed BOLD")
    recording, stem = Recording.parse(path), path.name.removesuffix(PREPROC)
    mask = path.with_name(f"{stem}_desc-brain_mask.nii.gz")
    confounds = path.with_name(Path(recording.confounds()).name)
    about = path.with_name(f"{stem}_desc-preproc_bold.json")
    for file in (path, mask, confounds, about):
        require_file(file, "keep fMRIPrep's files of the run together")
    return Derived(recording, path, mask, confounds, sidecar(about))


def moments(events: Path | None, interval: float | None, duration: float, end: float) -> np.ndarray:
    """Times to decode, s from the start of the run: shape (n,).

    Args:
        events: table with onset and duration; events longer than a clip are cut into clips.
        interval: s between predictions, from the start of the run; instead of events.
        duration: of a clip, s.
        end: end of the run, s.

    Raises:
        UserError: neither or both are given, the interval is not above 0, or an onset lies outside
            the run.
    """
    require_one(events=events, interval=interval)
    if interval is not None:
        if interval <= 0:
            raise UserError("interval", f"is {interval:g}", "give seconds above 0")
        return np.arange(0.0, end, interval)
    table = read_table(events, ("onset", "duration"))
    times = table[["onset", "duration"]].apply(pd.to_numeric, errors="coerce")
    if not (times["onset"] < end).all():
        late = times.index[~(times["onset"] < end)][0]
        wrong = f"row {late + 2} has no onset within the run, which ends at {end:g} s"
        raise UserError(events, wrong, "correct the events, or give the run they belong to")
    cut = [
        onset + duration * np.arange(max(1, int((length + 1e-3) // duration)))
        for onset, length in times.fillna({"duration": duration}).to_numpy()
    ]
    return np.concatenate(cut)
