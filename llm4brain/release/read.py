"""`llm4brain decode`: an exported model reads new BOLD and writes captions with their times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llm4brain.align.reader import BrainReader
from llm4brain.clips import first_volume, window_volumes
from llm4brain.errors import UserError
from llm4brain.io import Arrays, read_json, read_table
from llm4brain.preprocess.bold import clean_derivative, timing
from llm4brain.preprocess.find import Derived
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.names import Recording
from llm4brain.release.export import KNOWN, READER, SETTINGS, VIDEO_LLM
from llm4brain.release.noise import against_noise
from llm4brain.sections import BoldSettings
from llm4brain.tune.lora import load_lora
from llm4brain.video.videollm import VideoLLM

PREPROC = "_desc-preproc_bold.nii.gz"


@dataclass(frozen=True)
class Exported:
    """What `llm4brain export` wrote.

    Attributes:
        volumes: in a window.
    """

    reader: BrainReader
    volumes: int
    voxels: np.ndarray
    llm: VideoLLM
    known: np.ndarray
    settings: dict[str, Any]

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Exported:
        """Load a folder of `llm4brain export`.

        Raises:
            UserError: it is none.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise UserError(folder, "is no exported model", "make one: llm4brain export DIR")
        arrays, device = Arrays(folder / READER), "cuda" if torch.cuda.is_available() else "cpu"
        settings, place = read_json(folder / SETTINGS), torch.device(device)
        how = settings.get("loaded", {})  # none in what earlier versions wrote
        llm = VideoLLM.load(folder / VIDEO_LLM, device=place, **how)
        load_lora(llm, folder)
        known = Arrays(folder / KNOWN)["components"]
        reader, volumes = BrainReader.load(arrays), arrays.meta["window_volumes"]
        return cls(reader, volumes, arrays["grid.voxels"], llm, known, settings)


def run_of(path: Path) -> Derived:
    """A preprocessed run and the files that fMRIPrep writes beside it.

    Raises:
        UserError: its name is not fMRIPrep's, or a file is missing.
    """
    if not path.name.endswith(PREPROC):
        raise UserError(path, f"does not end in {PREPROC}", "give fMRIPrep's preprocessed BOLD")
    recording, stem = Recording.parse(path), path.name.removesuffix(PREPROC)
    mask = path.with_name(f"{stem}_desc-brain_mask.nii.gz")
    confounds = path.with_name(Path(recording.confounds()).name)
    sidecar = path.with_name(f"{stem}_desc-preproc_bold.json")
    for file in (path, mask, confounds, sidecar):
        if not file.is_file():
            raise UserError(file, "is missing", "keep fMRIPrep's files of the run together")
    return Derived(recording, path, mask, confounds, read_json(sidecar))


def moments(events: Path | None, every: float | None, duration: float, end: float) -> np.ndarray:
    """When to read, s on the run's clock: shape (n,).

    Args:
        events: table with onset and duration; what lasts longer than a clip is cut into clips.
        every: s between readings from the run's begin, in place of events.
        duration: of a clip, s.
        end: s, when the run ends.

    Raises:
        UserError: neither or both are given, or an onset lies beyond the run.
    """
    if (events is None) == (every is None):
        wrong = "are both given" if every else "is needed: when is the run to be read?"
        raise UserError("--events or --every", wrong, "give one of them")
    if every is not None:
        if every <= 0:
            raise UserError("--every", f"is {every:g}", "give seconds above 0")
        return np.arange(0.0, end, every)
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


def decode_run(
    model: Exported,
    path: Path,
    events: Path | None,
    every: float | None,
    subject: str,
    seed: int = 0,
) -> pd.DataFrame:
    """Captions of one run.

    Args:
        path: fMRIPrep's desc-preproc_bold.nii.gz.
        events, every: when, see `moments`.
        subject: label of the reader's weights; of one it does not know, what subjects share.
        seed: of the noise.

    Returns:
        onset, duration (s), text, valid (share of the window's volumes), match (correlation of the
        reading with the train clip nearest to it), p_noise: share of readings of noise, with the
        run's own structure in space and time, that come as near to some train clip; 0.001 at the
        least (`against_noise`). It says nothing of the text. A moment whose window lies off the
        run has no row.

    Raises:
        UserError: the run is not as the model was trained, or a file is wrong.
    """
    settings, clips = BoldSettings.model_validate(model.settings["bold"]), model.settings["clips"]
    if settings.space == "fsLR":
        wrong = "reads grayordinates (bold.space: fsLR), and runs are decoded from volumes alone"
        raise UserError("model", wrong, "decode its subjects in the workflow")
    run = run_of(path)
    if f"_space-{settings.space}_" not in path.name:
        raise UserError(path, f"is not in {settings.space}", "give the run in the model's space")
    known = sorted(set(model.reader.weights) - {"shared"})
    if subject and subject not in known:
        wrong = f"is no subject of the training ({', '.join(known)})"
        raise UserError(f"--subject {subject}", wrong, "leave it out: what they share then reads")
    tr, start = timing(run)
    span = window_volumes(clips["window"], tr)
    if span != model.volumes:
        wrong = f"has {span} volumes a window at its TR of {tr:g} s; the model reads "
        wrong += str(model.volumes)
        raise UserError(path, wrong, "resample it to the TR that the model was trained at")
    grid = mni_grid(settings.voxel_mm)
    if not np.array_equal(grid.voxels, model.voxels):
        raise UserError(path, "lies on other voxels than the model reads", "export it again")
    bold, valid = clean_derivative(run, tr, grid, settings)
    times = moments(events, every, clips["duration"], start + tr * len(bold))
    parts = [(t, first_volume(t + clips["lag"], tr, start)) for t in times]
    parts = [(t, k) for t, k in parts if k >= 0 and k + span <= len(bold)]
    if not parts:
        raise UserError(path, "is too short for any window", "give a longer run or other times")
    windows = np.stack([bold[k : k + span] for _, k in parts]).astype(np.float32)

    def read(given: np.ndarray) -> np.ndarray:
        return model.reader.components(given, np.full(len(given), subject))

    found, match, p = against_noise(read, windows, bold, model.known, seed)
    tokens = torch.from_numpy(model.reader.query_tokens(found))
    texts = model.llm.generate(tokens, model.settings["max_new_tokens"])
    return pd.DataFrame(
        {
            "onset": [t for t, _ in parts],
            "duration": clips["duration"],
            "text": texts,
            "valid": [float(valid[k : k + span].mean()) for _, k in parts],
            "match": match,
            "p_noise": p,
        }
    )
