"""The parts of the phantom shared by all subjects: BIDS dataset files, films, captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import llm4brain
from llm4brain.config import Config
from llm4brain.io import atomic_write, keep_only, write_json, write_table
from llm4brain.phantom.films import caption_table, scene_film
from llm4brain.phantom.grammar import Scene
from llm4brain.phantom.plan import cohort_films, video_films
from llm4brain.sections import PhantomSettings

RECORD = "films.json"  # provenance file beside the films that train the video-LLM
SIMULATED = "(SIMULATED)"  # marks a simulated data set in its description
VIDEO_FPS = 2.0  # frames per second of the films that train the video-LLM, which reads only a few

_README = """\
SIMULATED DATA. Nobody was scanned.

This data set was made by the phantom of LLM4Brain (llm4brain/phantom, docs/phantom.md). Short
drawn films were rendered from a small grammar of scenes, and the BOLD of several subjects watching
them was simulated: tuning in known regions of MNI space; topography, gain and haemodynamics that
differ between subjects; noise, drift, motion and physiology. The anatomy is the MNI152 template.
The data set serves to test a decoding pipeline with known ground truth. It says nothing about real
brains.

stimuli/film-NN.mp4           films, with clips back to back
stimuli/film-NN_captions.tsv  simulated human captions (onset and duration in seconds)

In events.tsv, each row is one film; `stim_file` is relative to stimuli/.
"""


def is_simulated(settings: Config, project: Path = Path()) -> bool:
    """Whether the data are simulated: the phantom, or a data set whose description says so.

    Args:
        project: folder to which relative paths in the settings are relative.
    """
    if settings.dataset == "phantom":
        return True
    about = project / (settings.bids_dir or "") / "dataset_description.json"
    return about.is_file() and SIMULATED in about.read_text()


def write_participants(folder: str | Path, subjects: list[str]) -> None:
    """Write the participants files at the root of the data set."""
    folder = Path(folder)
    people = pd.DataFrame({"participant_id": [f"sub-{s}" for s in subjects], "species": "phantom"})
    write_table(folder / "participants.tsv", people)
    write_json(
        folder / "participants.json",
        {"species": {"Description": "phantom: simulated, after the MNI152 template (human)"}},
    )


def write_description(folder: str | Path, record: Any) -> None:
    """Write description and README at the root of a BIDS data set.

    Args:
        folder: root of the data set.
        record: what made it (`llm4brain.provenance.record`).
    """
    folder = Path(folder)
    write_json(
        folder / "dataset_description.json",
        {
            "Name": f"LLM4Brain phantom {SIMULATED}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["LLM4Brain developers"],
            "Acknowledgements": "Simulated: no human being was scanned.",
            "GeneratedBy": [
                {
                    "Name": "llm4brain.phantom",
                    "Version": llm4brain.__version__,
                    "Description": "Simulation with known truth; see README",
                }
            ],
            "Simulation": record,
        },
    )
    with atomic_write(folder / "README") as partial:
        partial.write_text(_README)


def write_cohort_films(folder: str | Path, settings: PhantomSettings, seed: int) -> None:
    """Write the films that the cohort watches, and their captions.

    Args:
        folder: the data set's `stimuli/`.
        settings: the phantom's section of the configuration.
        seed: the configuration's seed.
    """
    films = cohort_films(settings, seed)
    _write_films(Path(folder), films, settings, settings.fps, f"cohort {seed}")


def write_video_films(
    folder: str | Path, settings: PhantomSettings, seed: int, record: Any
) -> None:
    """Write the films and captions that train the small video-LLM; they share no scene with the
    cohort's films."""
    films = video_films(settings, seed)
    fps = min(VIDEO_FPS, settings.fps)
    _write_films(Path(folder), films, settings, fps, f"video {seed}")
    write_json(Path(folder) / RECORD, {"simulated": True, "films": sorted(films), **record})


def _write_films(
    folder: Path, films: dict[str, list[Scene]], settings: PhantomSettings, fps: float, seed: str
) -> None:
    seconds = settings.clip_seconds
    for name, scenes in films.items():
        own = f"{seed} {name}"
        table = caption_table(scenes, seconds, settings.captions_per_clip, own)
        write_table(folder / name.replace(".mp4", "_captions.tsv"), table)
        scene_film(folder / name, scenes, seconds, fps, settings.frame_size, own)
    captions = {name.replace(".mp4", "_captions.tsv") for name in films}
    keep_only(folder, {*films, *captions, RECORD})
