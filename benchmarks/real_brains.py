"""Masked brain modelling on real brains: 130 people who watched a film, held-out people read once.

    python benchmarks/real_brains.py ../shared/data/partly_cloudy --choose   # inside persons 0-69
    python benchmarks/real_brains.py ../shared/data/partly_cloudy            # persons 70-129

Data: OpenNeuro ds004146 (QTAB, CC0), "Partly Cloudy", reduced to 268 parcels by the authors of
partlycloudy2. The folder holds `bold.npz` with `bold` (people, time, parcels) and `parcel_mni_mm`
(parcels, 3). All is fitted on persons 0-69 and the first half of the film: the covariance, the
network, the gate. Persons 70-129 then find which of 37 segments of 4 s of the second half they are
watching, by correlation with the mean of persons 0-69; a segment's neighbours are left out.
R2 is of the second half, each parcel predicted from the others with an eighth hidden in turns.

The settings below were chosen inside persons 0-69 (50 to fit, 20 to read; `--choose` compares
those of the linear model in two such splits).
"""

import os
import zipfile
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import numpy as np
import pandas as pd
import torch
import typer
from scipy import stats
from sklearn.base import clone

from llm4brain.align.gate import AgreementGate
from llm4brain.brain.estimator import MaskedBrainModel

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FITTED, PEOPLE = 70, 130  # persons 0-69 for all but the one reading of 70-129
SEGMENT, SEGMENTS = 5, 37  # volumes of 0.8 s
CHANCE = 100 / SEGMENTS
CITATION = "Data: OpenNeuro ds004146 (QTAB, CC0), parcels of partlycloudy2"
POWER, SMOOTH_MM = 0.25, 0.0  # of the gate
OWN_SHARE = 0.2
LINEAR = {"noise": 1.0, "alpha": 0.9}  # for identification
FOR_R2 = {"noise": 0.2, "own_share": 0.5}  # the linear model at its best prediction
SC_MBM = {"noise": 1.0, "transform_noise": 4.0, "alpha": 0.8}
NETWORK = {"n_components": 300, "window": 19, "n_epochs": 4}


def read_people(folder: Path, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """BOLD of persons first to last - 1 (people, time, parcels), and parcels in mm.

    The file is read no further than `last`.
    """
    path = folder / "bold.npz"
    with zipfile.ZipFile(path) as held, held.open("bold.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        person = int(np.prod(shape[1:])) * dtype.itemsize
        for _ in range(first):
            file.read(person)
        raw = file.read(person * (last - first))
    bold = np.frombuffer(raw, dtype).reshape(last - first, *shape[1:]).astype(np.float32)
    with np.load(path) as held:
        return bold, held["parcel_mni_mm"]


def halves(bold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second half of the film."""
    middle = bold.shape[1] // 2
    return bold[:, :middle], bold[:, middle:]


def segments(bold: np.ndarray) -> np.ndarray:
    """Means of segments: (people, segments, parcels)."""
    people, _, parcels = bold.shape
    return bold[:, : SEGMENTS * SEGMENT].reshape(people, SEGMENTS, SEGMENT, parcels).mean(2)


def identify(people: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which segment of `reference` (segments, parcels) each segment of each person is.

    Returns:
        Top-1 in % and mean rank (1: best), (people,) each.
    """

    def z_score(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    match = z_score(people) @ z_score(reference).T  # (people, segment seen, segment guessed)
    n = match.shape[1]
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    others = np.where(apart > 1, match, np.nan)
    right = match[:, np.arange(n), np.arange(n)][:, :, None]
    top = right[:, :, 0] > np.nanmax(others, axis=2)
    rank = (others < right).sum(2) / (apart > 1).sum(1)
    return 100 * top.mean(1), rank.mean(1)


def r2(bold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """R2 of each person."""
    left = np.square(bold - predicted, dtype=np.float64).sum((1, 2))
    return 1 - left / np.square(bold, dtype=np.float64).sum((1, 2))


def fit_gate(bold: np.ndarray, coordinates: np.ndarray, power: float, smooth_mm: float):
    """The agreement gate of (people, time, parcels) who saw the same."""
    people, time, parcels = bold.shape
    gate = AgreementGate(power=power, smooth_mm=smooth_mm)
    subjects, moments = np.repeat(np.arange(people), time), np.tile(np.arange(time), people)
    rows = bold.reshape(-1, parcels)
    return gate.fit(rows, subjects=subjects, moments=moments, coordinates=coordinates)


def line(value: np.ndarray, than: np.ndarray | None = None) -> dict[str, float]:
    """Mean over people, standard error, interval of 95 %; and of the paired difference."""
    parts = {"": value} if than is None else {"": value, "lead": value - than}
    out = {}
    for name, values in parts.items():
        mean, se = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        reach = stats.t.ppf(0.975, len(values) - 1) * se
        found = {"mean": mean, "se": se, "low": mean - reach, "high": mean + reach}
        out |= {f"{name}_{k}".strip("_"): float(v) for k, v in found.items()}
    return out


def choose(folder: Path) -> None:
    """Compare settings of the linear model inside persons 0-69, in two splits."""
    bold, mm = read_people(folder, 0, FITTED)
    rows = []
    for name, read in {"A": np.arange(50, 70), "B": np.arange(20)}.items():
        fitted = np.setdiff1d(np.arange(FITTED), read)
        (first, second), (own, seen) = halves(bold[fitted]), halves(bold[read])
        gates = {(0.0, 0.0): 1.0}
        for power, smooth_mm in product((0.25, 0.5, 1.0), (0.0, 8.0)):
            gates[power, smooth_mm] = fit_gate(first, mm, power, smooth_mm).weights_
        for noise, share in product((0.2, 1.0), (0.0, 0.2, 0.5)):
            model = MaskedBrainModel(
                n_components=NETWORK["n_components"], noise=noise, own_share=share, n_epochs=0
            ).fit(first, coordinates=mm)
            read_of, theirs = model.predict(seen, own), model.predict(second, first)
            for alpha, ((power, smooth_mm), weights) in product(
                (0.7, 0.8, 0.9, 1.0), gates.items()
            ):
                pattern = segments(seen - alpha * read_of) * weights
                mean = segments(second - alpha * theirs).mean(0) * weights
                rows.append(
                    {
                        "split": name, "noise": noise, "own_share": share, "alpha": alpha,
                        "power": power, "smooth_mm": smooth_mm,
                        "top1": identify(pattern, mean)[0].mean(), "r2": r2(seen, read_of).mean(),
                    }
                )  # fmt: skip
    table = pd.DataFrame(rows).groupby(
        ["own_share", "noise", "alpha", "power", "smooth_mm"]
    )[["top1", "r2"]].mean()  # fmt: skip
    for share, part in table.groupby("own_share"):
        print(f"own_share {share}: best identification, mean of two splits")
        print(part.sort_values("top1", ascending=False).head(8).round(3).to_string())
        print(part.groupby("noise").r2.first().round(4).to_string())


def evaluate(
    bold: np.ndarray, held_out: np.ndarray, mm: np.ndarray, network: dict | None = None
) -> pd.DataFrame:
    """Fit on `bold`, read `held_out` (people, time, parcels): a row a pattern and measure."""
    (first, second), (own, seen) = halves(bold), halves(held_out)
    weights = fit_gate(first, mm, POWER, SMOOTH_MM).weights_
    settings = (SC_MBM | {"own_share": OWN_SHARE}) | (NETWORK if network is None else network)
    model = MaskedBrainModel(**settings).fit(first, coordinates=mm)
    print("R2 of held-out people within the fitted ones:", model.history_, flush=True)
    linear = clone(model).set_params(n_epochs=0, transform_noise=None, **LINEAR)
    linear.fit(first, coordinates=mm)
    kinds = {
        "linear": (linear, None), "SC-MBM": (model, None),
        "linear, own volumes": (linear, own), "SC-MBM, own volumes": (model, own),
    }  # fmt: skip
    surprise, reference = {"plain": seen}, {"plain": second}
    for kind, (reader, volumes) in kinds.items():
        surprise[kind] = reader.transform(seen, volumes)
        reference[kind] = reader.transform(second, None if volumes is None else first)
    rows, top = [], {}
    for gated, kind in product((False, True), surprise):
        gate = weights if gated else 1.0
        mean = segments(reference[kind]).mean(0) * gate
        top[kind, gated], rank = identify(segments(surprise[kind]) * gate, mean)
        than = top.get((kind.replace("SC-MBM", "linear"), gated)) if "SC-MBM" in kind else None
        if kind != "plain" and than is None:
            than = top["plain" if kind == "linear" else "linear", gated]
        rows.append(
            {"measure": "top1", "pattern": kind, "gate": gated, "rank": rank.mean()}
            | line(top[kind, gated], than)
        )
    found = {}
    for kind, (reader, volumes) in kinds.items():
        # at the noise that predicts best, which is not the one that tells best
        best = FOR_R2 if reader is linear or volumes is not None else {}
        before = {name: getattr(reader, name) for name in best}
        found[kind] = r2(seen, reader.set_params(**best).predict(seen, volumes))
        reader.set_params(**before)
    for kind, value in found.items():
        than = found["linear"] if kind == "linear, own volumes" else None
        than = found[kind.replace("SC-MBM", "linear")] if "SC-MBM" in kind else than
        rows.append({"measure": "r2", "pattern": kind, "gate": False} | line(value, than))
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path, people: int) -> None:
    """Both measures, with intervals of 95 % over people."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), gridspec_kw={"wspace": 0.6})
    top = table[table.measure == "top1"]
    kinds = list(dict.fromkeys(top.pattern))
    for shift, (gated, part) in zip((0.19, -0.19), top.groupby("gate"), strict=True):
        part = part.set_index("pattern").loc[kinds]
        place = len(kinds) - np.arange(len(kinds)) + shift
        label, colour = ("with gate", "#1f5a8a") if gated else ("without gate", "#9dbcd4")
        axes[0].barh(place, part["mean"], 0.36, color=colour, label=label)
        reach = [part["mean"] - part.low, part.high - part["mean"]]
        axes[0].errorbar(part["mean"], place, xerr=reach, fmt="none", color="black", lw=1)
        for x, y in zip(part.high, place, strict=True):
            axes[0].annotate(
                f"{part['mean'].iloc[list(place).index(y)]:.1f}",
                (x + 1, y),
                va="center",
                fontsize=8,
            )
    axes[0].axvline(CHANCE, color="crimson", lw=1, ls="--", label=f"chance, {CHANCE:.1f} %")
    axes[0].set_yticks(len(kinds) - np.arange(len(kinds)), kinds)
    axes[0].set_xlim(0, 105)
    axes[0].set_xlabel("segment identification, top-1 of 37 (%)")
    axes[0].legend(
        loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=3, fontsize=8, frameon=False
    )
    part = table[table.measure == "r2"]
    place = len(part) - np.arange(len(part))
    axes[1].barh(place, part["mean"], 0.5, color="#6a9f58")
    reach = [part["mean"] - part.low, part.high - part["mean"]]
    axes[1].errorbar(part["mean"], place, xerr=reach, fmt="none", color="black", lw=1)
    for x, y, value in zip(part.high, place, part["mean"], strict=True):
        axes[1].annotate(f"{value:.3f}", (x + 0.01, y), va="center", fontsize=8)
    axes[1].set_yticks(place, part.pattern)
    axes[1].set_xlim(0, 0.85)
    axes[1].set_xlabel("R2 of masked prediction")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    said = f"{CITATION}. {people} people never seen in fitting; intervals of 95 % over people."
    figure.text(0.01, 0.005, said, fontsize=8)
    figure.subplots_adjust(left=0.18, right=0.98, bottom=0.19, top=0.9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(
    folder: Path,
    choose_settings: bool = typer.Option(False, "--choose", help="inside persons 0-69 alone"),
    rehearse: bool = typer.Option(False, help="fit on persons 0-49 and read 50-69"),
    table: Path = Path("docs/img/real_brains.csv"),
    figure: Path = Path("docs/img/real_brains.png"),
    threads: int = 1,
) -> None:
    """Fit on persons 0-69, read persons 70-129."""
    torch.set_num_threads(threads)
    if choose_settings:
        choose(folder)
        return
    fitted, last = (50, FITTED) if rehearse else (FITTED, PEOPLE)
    bold, mm = read_people(folder, 0, fitted)
    held_out, _ = read_people(folder, fitted, last)
    found = evaluate(bold, held_out, mm)
    found.to_csv(table, index=False, float_format="%.5f")
    draw(found, figure, len(held_out))
    print(found.round(4).to_string())


if __name__ == "__main__":
    typer.run(main)
