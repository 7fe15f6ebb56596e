"""Small simulated data sets whose events have the formats of three public data sets.

| like | events | stimuli |
|---|---|---|
| bold-moments (ds005165) | a row per clip, `n/a` on oddballs, TR 1.75 s, sessions | a clip each |
| had (ds004488) | a row per clip, TR 2 s | a clip each, spaces in their paths |
| cneuromod (friends) | a row per run, at the root, TR 1.49 s, a task per film | films of clips |

Brains, noise and films are those of the phantom; only the file format differs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.io import atomic_write, write_json, write_table
from llm4brain.phantom.dataset import SIMULATED, write_participants
from llm4brain.phantom.films import caption_table, read_luminance, scene_film
from llm4brain.phantom.grammar import Scene, every_scene
from llm4brain.phantom.scans import sidecar, write_nifti
from llm4brain.phantom.simulate import chance, film_signals, make_run, make_subject
from llm4brain.phantom.tuning import LOWLEVEL_CELLS
from llm4brain.sections import PhantomSettings

LIKE = ("bold-moments", "had", "cneuromod")
SUBJECT = "01"
REST = "task-rest"  # a run without stimuli
README = (
    "SIMULATED DATA. Nobody was scanned. A small example for LLM4Brain (docs/your-data.md): drawn "
    "films, and simulated BOLD of one subject who watches them, written down as {like} is.\n"
)


@dataclass(frozen=True)
class Example:
    """What is shown, and how the events are written.

    Attributes:
        films: stim_file -> its scenes, each of `settings.clip_seconds`.
        runs: entities of the run's name after the subject -> its films, back to back.
        splits: split -> films.
        root_events: events are at the root, one row per run; else beside the runs, one per film.
        oddball: each run ends with an event without a stimulus.
    """

    settings: PhantomSettings
    films: dict[str, list[Scene]]
    runs: dict[str, list[str]]
    splits: dict[str, list[str]] = field(default_factory=dict)
    root_events: bool = False
    oddball: bool = False


def example(like: str) -> Example:
    """One of the three data sets.

    Raises:
        UserError: the name is unknown.
    """
    if like not in LIKE:
        raise UserError("--like", f"no example is like {like}", f"choose of {', '.join(LIKE)}")
    scenes = every_scene()
    random.Random(f"example {like}").shuffle(scenes)
    shared = {"snr": 0.5, "frame_size": 64}
    if like == "cneuromod":
        films = {f"s01/e{k:02d}.mp4": scenes[12 * k : 12 * k + 12] for k in range(1, 6)}
        names = list(films)
        runs = {f"ses-{(k + 1) // 2:03d}_task-s01e{k:02d}": [names[k - 1]] for k in range(1, 6)}
        settings = PhantomSettings(tr=1.49, clip_seconds=4, clips_per_film=12, **shared)
        splits = {"train": names[:3], "validation": names[3:4], "test": names[4:]}
        return Example(settings, films, runs | {f"ses-003_{REST}": []}, splits, root_events=True)
    if like == "had":
        seconds, tr, oddball = 2, 2.0, False
        folders = ["train"] * 40 + ["validation"] * 20 + ["test"] * 20  # 20 per run
        names = [f"{folder}/clip {k:02d}.mp4" for k, folder in enumerate(folders)]
        train, validation, test = names[:40], names[40:60], names[60:]
        runs = {
            f"ses-action01_task-action_run-{k + 1:02d}": names[20 * k : 20 * k + 20]
            for k in range(4)
        }
    else:
        seconds, tr, oddball = 3, 1.75, True
        names = [f"{k:04d}.mp4" for k in range(1, 61)]
        train, validation, test = names[:40], names[40:50], names[50:]
        runs = {
            "ses-02_task-train_run-1": names[:20],
            "ses-02_task-train_run-2": names[20:40],
            "ses-03_task-train_run-1": validation + validation[::-1],
            "ses-03_task-test_run-1": test + test[::-1],
        }
    films = dict(zip(names, ([scene] for scene in scenes), strict=False))
    settings = PhantomSettings(tr=tr, clip_seconds=seconds, clips_per_film=20, **shared)
    splits = {"train": train, "validation": validation, "test": test}
    return Example(settings, films, runs, splits, oddball=oddball)


def write_example(folder: Path, like: str, seed: int = 0) -> None:
    """Write the data set: films with captions, raw BOLD, events, and `code/splits.tsv`.

    Args:
        folder: folder to create.
    """
    made = example(like)
    _write_films(folder / "stimuli", made, like)
    rows = [(film, split) for split, own in made.splits.items() for film in own]
    write_table(folder / "code" / "splits.tsv", pd.DataFrame(rows, columns=["stim_file", "split"]))
    write_participants(folder, [SUBJECT])
    about = {"Name": f"LLM4Brain example like {like} {SIMULATED}", "BIDSVersion": "1.10.0"}
    write_json(
        folder / "dataset_description.json",
        about | {"DatasetType": "raw", "License": "CC0", "Authors": ["LLM4Brain developers"]},
    )
    with atomic_write(folder / "README") as partial:
        partial.write_text(README.format(like=like))

    settings = made.settings
    shown = {
        run: _signals(folder / "stimuli", made, films) for run, films in made.runs.items() if films
    }
    drawn = make_subject(settings, SUBJECT, seed, shown)
    nothing = np.zeros_like(next(iter(drawn.responses.values())))
    silent = {run: nothing for run, films in made.runs.items() if not films}
    drawn = replace(drawn, responses={**drawn.responses, **silent})
    for run, films in made.runs.items():
        session, task = (part.split("-", 1)[1] for part in run.split("_")[:2])
        own = folder / f"sub-{SUBJECT}" / f"ses-{session}" / "func"
        scan, _ = make_run(drawn, settings, run, chance(seed, "example", like, run))
        stem = f"sub-{SUBJECT}_{run}"
        write_nifti(own / f"{stem}_bold.nii.gz", scan, drawn.head.affine, settings.tr)
        slices = [round(settings.tr * k / scan.shape[2], 4) for k in range(scan.shape[2])]
        write_json(own / f"{stem}_bold.json", sidecar(settings.tr, task) | {"SliceTiming": slices})
        if films and made.root_events:
            write_table(folder / f"task-{task}_events.tsv", events(made, films))
        elif films:
            write_table(own / f"{stem}_events.tsv", events(made, films))


def events(made: Example, films: Sequence[str]) -> pd.DataFrame:
    """Events of a run, one row per film; duration is `n/a` for a film that fills the run."""
    onset, rows = made.settings.lead_in, []
    for name in films:
        seconds = len(made.films[name]) * made.settings.clip_seconds
        rows.append((onset, None if made.root_events else seconds, "video", name))
        onset += seconds
    if made.oddball:
        rows.append((onset, made.settings.clip_seconds, "oddball", None))
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "stim_file"])


def _write_films(folder: Path, made: Example, seed: str) -> None:
    settings = made.settings
    for name, scenes in made.films.items():
        path, own = folder / name, f"example {seed} {name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene_film(path, scenes, settings.clip_seconds, settings.fps, settings.frame_size, own)
        table = caption_table(scenes, settings.clip_seconds, settings.captions_per_clip, own)
        write_table(path.with_name(f"{path.stem}_captions.tsv"), table)


def _signals(stimuli: Path, made: Example, films: Sequence[str]) -> np.ndarray:
    """All features that drive the brain in a run, (time, features)."""
    scenes = [scene for name in films for scene in made.films[name]]
    grids, rates = zip(*(read_luminance(stimuli / n, LOWLEVEL_CELLS) for n in films), strict=True)
    return film_signals(scenes, np.concatenate(grids), rates[0], made.settings.clip_seconds)
