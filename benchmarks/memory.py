"""Peak memory of feature extraction with few and with many runs of one subject.

    python benchmarks/memory.py

Makes BIDS data sets of noise, whose runs are links to one another, and has `scripts/bold.py` and
`scripts/bold_features.py` read them, each in a process of its own. The status is 1 where the many
take 10% more memory than the few, or more.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from peak import compare, peak

from llm4brain.io import write_json, write_table
from llm4brain.preprocess import images
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.names import Recording
from llm4brain.sections import BoldSettings

SPACE, TR, CLIP = BoldSettings().space, 2.0, 4.0


def write_data(root: Path, runs: int, voxel_mm: int, volumes: int) -> None:
    """A raw data set and derivatives of so many runs, and the clip table of their one film."""
    grid, rng = mni_grid(voxel_mm), np.random.default_rng(0)
    noise = rng.standard_normal((*grid.shape, volumes), dtype=np.float32)
    table = pd.DataFrame({"framewise_displacement": np.full(volumes, 0.1)})
    table["cosine00"] = np.cos(np.pi * (np.arange(volumes) + 0.5) / volumes)
    seconds = TR * volumes - 20
    events = pd.DataFrame({"onset": [0.0], "duration": [seconds], "stim_file": ["film.mp4"]})
    first: list[Path] = []
    for number in range(runs):
        run = Recording.parse(f"sub-01_task-film_run-{number + 1:02d}_bold.nii.gz")
        raw, derived = root / "raw", root / "derivatives"
        files = [raw / run.folder / f"{run.stem}_{end}" for end in ("events.tsv", "bold.nii.gz")]
        files += [derived / run.mask(SPACE), derived / run.confounds(), derived / run.bold(SPACE)]
        files += [derived / run.confounds_json(), derived / run.bold_json(SPACE)]
        if number:
            for old, new in zip(first, files, strict=True):
                os.link(old, new)
            continue
        first = files
        write_table(files[0], events)
        images.write(files[1], noise[..., :2], grid.affine, TR)
        images.write(files[2], grid.brain, grid.affine)
        write_table(files[3], table)
        images.write(files[4], 1000 + noise, grid.affine, TR)
        write_json(files[5], {})
        write_json(files[6], {"RepetitionTime": TR, "TaskName": "film"})
    for folder in ("raw", "derivatives"):
        write_json(
            root / folder / "dataset_description.json", {"Name": "n", "BIDSVersion": "1.9.0"}
        )
    onsets = CLIP * np.arange(seconds // CLIP)
    clips = pd.DataFrame({"clip_id": [f"film_{o:06.1f}" for o in onsets], "stim_file": "film.mp4"})
    write_table(root / "clips.tsv", clips.assign(onset=onsets, duration=CLIP, split="train"))


def main(few: int = 4, many: int = 40, voxel_mm: int = 8, volumes: int = 300) -> None:
    found: dict[str, list[tuple[float, float]]] = {"bold": [], "bold_features": []}
    for runs in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_data(root, runs, voxel_mm, volumes)
            bold, data = root / "bold.safetensors", ("--bids", root / "raw")
            data += ("--derivatives", root / "derivatives", "--subject", "01", "--out", bold)
            settings = BoldSettings(voxel_mm=voxel_mm, confounds="none").model_dump_json()
            found["bold"].append(peak("bold", *data, "--settings", settings))
            made = ("--out", root / "windows.safetensors", "--trials", root / "trials.tsv")
            windows = ("--bold", bold, "--clips", root / "clips.tsv", *made)
            settings = '{"lag": 4.0, "window": 4.0}'
            found["bold_features"].append(peak("bold_features", *windows, "--settings", settings))
            size = bold.stat().st_size / 1e6
            print(f"{runs} runs of {volumes} volumes, {size:.0f} MB of clean BOLD")
    sys.exit(compare(found, few, many))


if __name__ == "__main__":
    typer.run(main)
