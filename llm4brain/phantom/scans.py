"""One subject of the phantom as BIDS files, and its ground truth."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from llm4brain.io import atomic_write, keep_only, write_arrays, write_json, write_table
from llm4brain.phantom import haemodynamics as haemo
from llm4brain.phantom.anatomy import t1w_image, template
from llm4brain.phantom.films import read_luminance
from llm4brain.phantom.plan import cohort_films, runs
from llm4brain.phantom.simulate import Subject, chance, film_signals, make_run, make_subject
from llm4brain.phantom.tuning import FEATURES, LOWLEVEL_CELLS, REGIONS
from llm4brain.sections import PhantomSettings

TASK = "film"


def write_subject(
    folder: str | Path,
    truth: str | Path,
    settings: PhantomSettings,
    subject: str,
    seed: int,
    record: dict[str, Any],
) -> None:
    """Simulate a subject and write T1w, runs, events and the truth.

    Args:
        folder: root of the data set; its `stimuli/` must contain the films.
        truth: safetensors file for the ground truth (described in docs/phantom.md).
        settings: the phantom's section of the configuration.
        subject: label.
        seed: the configuration's seed.
        record: what made it (`llm4brain.provenance.record`).

    Raises:
        UserError: a film is missing.
    """
    folder = Path(folder)
    films = cohort_films(settings, seed)
    signals = {
        name: film_signals(
            scenes,
            *read_luminance(folder / "stimuli" / name, LOWLEVEL_CELLS),
            settings.clip_seconds,
        )
        for name, scenes in films.items()
    }
    drawn = make_subject(settings, subject, seed, signals)

    own = folder / f"sub-{subject}"
    t1w, affine = t1w_image(chance(seed, subject, "t1w"))
    write_nifti(own / "anat" / f"sub-{subject}_T1w.nii.gz", t1w, affine)

    arrays = _truth_arrays(drawn, films)
    plan, written = runs(settings, subject, seed), set()
    for run in plan:
        scan, moved = make_run(
            drawn, settings, run.stim_file, chance(seed, subject, "run", run.number)
        )
        name = f"sub-{subject}_task-{TASK}_run-{run.number:02d}"
        write_nifti(own / "func" / f"{name}_bold.nii.gz", scan, drawn.head.affine, settings.tr)
        write_json(own / "func" / f"{name}_bold.json", sidecar(settings.tr))
        write_table(own / "func" / f"{name}_events.tsv", _events(settings, run.stim_file))
        arrays[f"motion-{run.number:02d}"] = moved
        written |= {f"{name}_bold.nii.gz", f"{name}_bold.json", f"{name}_events.tsv"}
    keep_only(own / "func", written)
    write_arrays(truth, arrays, {**_truth_meta(drawn, settings, plan), **record})


def write_nifti(
    path: str | Path, data: np.ndarray, affine: np.ndarray, tr: float | None = None
) -> None:
    """Write a NIfTI in scanner space with reproducible bytes; optimised for speed, not size.

    Args:
        path: ends in .nii.gz.
        data: int16 (x, y, z) or (x, y, z, volumes).
        affine: (4, 4) from index to scanner mm.
        tr: seconds between volumes.
    """
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    with atomic_write(path) as partial:
        partial.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def sidecar(tr: float, task: str = TASK) -> dict[str, Any]:
    """A raw run's JSON."""
    return {
        "TaskName": task,
        "TaskDescription": "Watching a film of short scenes (simulated)",
        "Instructions": "None: nobody was scanned",
        "RepetitionTime": tr,
        "EchoTime": 0.03,
        "Manufacturer": "Simulated",
        "ManufacturersModelName": "LLM4Brain phantom",
    }


def _events(settings: PhantomSettings, stim_file: str) -> pd.DataFrame:
    """One row: the film."""
    length = settings.clips_per_film * settings.clip_seconds
    return pd.DataFrame(
        [(settings.lead_in, length, TASK, stim_file)],
        columns=["onset", "duration", "trial_type", "stim_file"],
    )


def _truth_arrays(drawn: Subject, films: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    every = np.concatenate(list(drawn.tuning.maps.values()))  # (features, x, y, z)
    tuned = np.abs(every).max(axis=0) > 0
    arrays = {
        "regions": drawn.tuning.regions,
        "tuning": every[:, tuned].T.astype(np.float32),
        "tuning_voxels": np.argwhere(tuned).astype(np.int16),
        "shift": drawn.tuning.shift.astype(np.float16),
        "mni_affine": template().affine,
        "hrf": haemo.hrf(drawn.hrf_peak).astype(np.float32),
    }
    for name, scenes in films.items():
        arrays[f"codes-{Path(name).stem}"] = np.array([s.codes for s in scenes], np.uint8)
    return arrays


def _truth_meta(drawn: Subject, settings: PhantomSettings, plan: list[Any]) -> dict[str, Any]:
    return {
        "features": [[name, value] for name, values in FEATURES.items() for value in values],
        "regions": [region._asdict() for region in REGIONS],
        "hrf_peak": drawn.hrf_peak,
        "hrf_step": haemo.STEP,
        "best_lag": haemo.best_lag(drawn.hrf_peak, settings.clip_seconds),
        "gain": drawn.tuning.gain,
        "snr": drawn.snr,
        "onset": settings.lead_in,
        "runs": [run._asdict() for run in plan],
    }
