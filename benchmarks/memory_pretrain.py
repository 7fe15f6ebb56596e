"""Peak memory of masked pretraining with few and with many runs.

    python benchmarks/memory_pretrain.py

Writes noise as the workflow writes clean BOLD and windows, and has `scripts/pretrain.py` (windows
of clips) and `scripts/pretraining.py` (windows anywhere in a run) learn one epoch of it with a
small encoder, each in a process of its own. The status is 1 where the many take 10% more memory
than the few, or more.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from peak import compare, peak

from llm4brain.io import stream_arrays, write_table
from llm4brain.sections import EncoderSettings, FitSettings

WINDOW = 2  # volumes


def write_data(root: Path, runs: int, volumes: int, edge: int) -> None:
    """Windows of one subject's clips, and two further subjects who have half of the runs each."""
    voxels = np.argwhere(np.ones((edge, edge, edge))).astype(np.int16)
    rng = np.random.default_rng(0)
    meta = {"affine": np.diag([4.0, 4.0, 4.0, 1.0]).tolist()}
    trials = volumes // WINDOW
    one = rng.standard_normal((trials, WINDOW, len(voxels)), dtype=np.float32).astype(np.float16)
    shapes = {"windows": ("float16", (trials * runs, *one.shape[1:]))}
    shapes["voxels"] = ("int16", voxels.shape)
    parts = [("voxels", voxels), *[("windows", one)] * runs]
    stream_arrays(root / "sub-01.safetensors", shapes, parts, meta)
    # the few fill a part of validation, which is what is read at once
    split = np.where(np.arange(trials * runs) % 3, "train", "validation")
    table = pd.DataFrame({"trial": np.arange(len(split)), "split": split})
    write_table(root / "trials.tsv", table)
    bold, valid = rng.standard_normal((volumes, len(voxels)), dtype=np.float32), np.ones(volumes)
    for subject in ("11", "12"):
        names = [f"{n:02d}" for n in range(runs // 2)]
        shapes = {f"run-{n}": ("float32", bold.shape) for n in names}
        shapes |= {f"valid-{n}": ("bool", (volumes,)) for n in names}
        shapes["voxels"] = ("int16", voxels.shape)
        parts = [("voxels", voxels)]
        for n in names:
            parts += [(f"run-{n}", bold), (f"valid-{n}", valid.astype(bool))]
        stream_arrays(
            root / "further" / f"sub-{subject}.safetensors",
            shapes,
            parts,
            meta | {"runs": {n: {} for n in names}},
        )


def main(few: int = 4, many: int = 40, volumes: int = 250, edge: int = 20) -> None:
    fit = FitSettings(epochs=1, batch_size=64, lr=1e-3)
    sizes = {"embed_dim": 128, "depth": 1, "num_heads": 2, "decoder_embed_dim": 32, "patch_size": 5}
    settings = EncoderSettings(**sizes, fit=fit).model_dump_json()
    found: dict[str, list[tuple[float, float]]] = {"pretrain": [], "pretraining": []}
    for runs in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_data(root, runs, volumes, edge)
            features, further = root / "sub-01.safetensors", root / "further"
            made = ["--out", root / "out.safetensors", "--log", root / "log.csv"]
            made += ["--plot", root / "log.png", "--settings", settings, "--seed", "0"]
            made += ["--threads", "1", "--precision", "fp32", "--code", "none"]
            own = ["--subject", "01", "--features", features, "--trials", root / "trials.tsv"]
            found["pretrain"].append(peak("pretrain", *own, *made))
            resting = ["--bold", further, "--subject", "11", "--subject", "12"]
            resting += ["--example", features]
            found["pretraining"].append(peak("pretraining", *resting, *made))
            size = features.stat().st_size / 1e6
            runs_size = sum(f.stat().st_size for f in further.iterdir()) / 1e6
            print(f"{runs} runs: {size:.0f} MB of windows, {runs_size:.0f} MB of further BOLD")
    sys.exit(compare(found, few, many))


if __name__ == "__main__":
    typer.run(main)
