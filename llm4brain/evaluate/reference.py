"""The arm `reference`: floors, linear baselines and ceilings for one subject's test clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from llm4brain.align.basis import Basis, Space
from llm4brain.align.reader import BrainReader
from llm4brain.errors import UserError
from llm4brain.evaluate.baselines import (
    constant_caption,
    nearest,
    random_clips,
    typical_captions,
)
from llm4brain.evaluate.names import NORMS, TRUTH
from llm4brain.evaluate.references import references_of
from llm4brain.evaluate.ridge import Form, Ridge, Seen, Targets, best_ridges
from llm4brain.showings import by_clip, first_showings, means, require_valid

# Components of the train clips' tokens that ridge predicts: all, up to a data set of 769 train
# clips. What more of them would add is in the meta of the readings (`explained`).
N_COMPONENTS = 768


@dataclass(frozen=True)
class Decoded:
    """Texts and readings of the systems for the test clips.

    Attributes:
        table: clip_id, system, kind, text; one row per system and clip.
        clip_ids: the test clips, in the order of the readings' rows.
        readings: coordinates: `<system>` (clips, r) and `truth` (clips, r + clips), and `norms`
            (clips,), see `correlations`. On the further axes of `truth` only `video` is not 0.
        ridge: system -> choices of its ridge: form, scale, alpha, power and penalty, also in words,
            and the validation score of each penalty.
        explained: share of the variance of the train clips' tokens in the components.
    """

    table: pd.DataFrame
    clip_ids: list[str]
    readings: dict[str, np.ndarray]
    ridge: dict[str, Any]
    explained: float


def per_clip(
    windows: np.ndarray, trials: pd.DataFrame, repeats: Literal["average", "single"]
) -> tuple[np.ndarray, pd.DataFrame]:
    """One window per clip: the mean over valid showings; `single`: the first valid one for test
    clips.

    Train clips are always averaged; the setting only applies to test clips.
    """
    rows, every = np.arange(len(trials)), trials
    if repeats == "single":
        test = (trials["split"] == "test").to_numpy()
        shown, own = first_showings(rows[test], trials[test])
        rows = np.concatenate([rows[~test], shown])
        trials = pd.concat([trials[~test], own], ignore_index=True)
    groups, table = by_clip(trials)
    require_valid(every, table, "trials")
    return means(windows, [rows[group] for group in groups]), table


def reference_systems(
    windows: np.ndarray,
    trials: pd.DataFrame,
    video_ids: list[str],
    video_tokens: np.ndarray,
    captions: pd.DataFrame,
    generated: pd.DataFrame,
    reader: BrainReader,
    say: Callable[[np.ndarray, Callable[[np.ndarray], np.ndarray]], list[str]],
    repeats: Literal["average", "single"],
    seed: tuple[int, ...],
) -> Decoded:
    """Decode with `constant`, `random`, the ridges of `FAMILIES`, `nearest` and `video`.

    `ridge_llm` generates text from the reading of ridge. If test clips are averaged over showings,
    `ridge_single` uses the first showing only.

    Args:
        windows: shape (trials, volumes, voxels), of one subject; may be memory-mapped.
        trials: rows of `windows`: clip_id, split, run, repeat, valid.
        video_ids: clips of `video_tokens`, in order.
        video_tokens: shape (clips, K, d), may be memory-mapped.
        captions: clip_id, caption; only those of train clips are used.
        generated: clip_id, caption; the video-LLM's own captions of the test clips.
        reader: ridge uses only its frozen encoder and its gate, which were not trained on captions
            or video tokens. It never uses the adaptor, mean or weights, which were.
        say: generates text from components (n, rank), given a function that makes tokens
            (b, K, d) of a batch of them, with an LLM that was not tuned on fMRI.
        repeats: content of a test window, see `per_clip`.
        seed: of the random floor.

    Raises:
        UserError: a clip has no video tokens, or a train clip has no caption.
    """
    averaged, table = per_clip(windows, trials, repeats)
    row = {clip: i for i, clip in enumerate(video_ids)}
    missing = [clip for clip in table["clip_id"] if clip not in row]
    if missing:
        wrong = f"hold no tokens for {len(missing)} clips, such as {missing[0]}"
        raise UserError("video features", wrong, "make them again from the same clip table")
    part, rows, clips = {}, {}, {}
    for split in ("train", "validation", "test"):
        own = (table["split"] == split).to_numpy()
        if not own.any():
            raise UserError("features", f"hold no valid {split} clip", "correct splits or masks")
        clips[split] = table["clip_id"][own].tolist()
        rows[split] = np.array([row[clip] for clip in clips[split]])
        part[split] = _seen(averaged[own], reader)
    del averaged

    references = references_of(captions, clips["train"])
    typical = typical_captions(references)
    basis = Basis.fit(video_tokens, N_COMPONENTS, rows["train"])
    space = Space.of(basis)
    known, lengths = space.truth(video_tokens, rows["train"])
    held, held_lengths = space.truth(video_tokens, rows["validation"])
    truth, norms = space.truth(video_tokens, rows["test"], whole=True)
    unit = held / held_lengths.clip(1e-12)[:, None]
    targets = Targets(basis.read(video_tokens, rows["train"]), space.turn, unit)
    ridges = best_ridges(part["train"], part["validation"], targets, reader.agreement)
    found = {name: ridge.read(form.of(part["test"])) for name, (form, ridge) in ridges.items()}
    form, ridge = ridges["ridge"]
    if repeats == "average":
        test = (trials["split"] == "test").to_numpy()
        shown, own = first_showings(np.flatnonzero(test), trials[test])
        first = dict(zip(own["clip_id"], shown, strict=True))
        single = windows[[first[clip] for clip in clips["test"]]].astype(np.float32)
        found["ridge_single"] = ridge.read(form.of(_seen(single, reader)))
    del part
    reads = {name: space.coordinates(own) for name, own in found.items()}
    closest = nearest(truth[:, : known.shape[1]], known, lengths)
    n = len(clips["test"])
    blind = random_clips(len(clips["train"]), n, seed)
    which = np.random.default_rng([*seed, 1]).random(n)  # index of the caption within the clip

    def write(components: np.ndarray) -> np.ndarray:
        return basis.write(components).astype(np.float32).reshape(-1, *video_tokens.shape[1:])

    texts = {
        ("constant", "floor"): [constant_caption(references)] * n,
        ("random", "floor"): [
            references[c][int(u * len(references[c]))] for c, u in zip(blind, which, strict=True)
        ],
        **{
            (name, "baseline"): [typical[i] for i in nearest(own, known, lengths)]
            for name, own in reads.items()
        },
        ("ridge_llm", "baseline"): say(found["ridge"].astype(np.float32), write),
        # identifies the clip perfectly, but can only return the caption of a train clip
        ("nearest", "ceiling"): [typical[i] for i in closest],
        ("video", "ceiling"): [own[0] for own in references_of(generated, clips["test"])],
    }
    said = pd.DataFrame(
        [
            {"clip_id": clip, "system": system, "kind": kind, "text": text}
            for (system, kind), own in texts.items()
            for clip, text in zip(clips["test"], own, strict=True)
        ]
    )
    readings = {
        "random": known[blind],
        **reads,
        "ridge_llm": reads["ridge"],
        "nearest": known[closest],
        "video": truth,
        TRUTH: truth,
        NORMS: norms,
    }
    took = {name: _took(*own) for name, own in ridges.items()}
    explained = float(np.square(known).sum() / np.square(lengths).sum())
    return Decoded(said, clips["test"], readings, took, explained)


def _seen(windows: np.ndarray, reader: BrainReader) -> Seen:
    """A split by itself, so that predictions for train windows do not depend on test windows."""
    return Seen(windows, reader.frozen(windows)[1])


def _took(form: Form, ridge: Ridge) -> dict[str, Any]:
    return {
        "form": "volumes" if form.volumes else "mean",
        "scale": form.scale,
        "alpha": form.alpha,
        "power": form.power,
        "penalty": ridge.penalty,
        "said": form.said,
        "validation": np.round(ridge.validation, 6).tolist(),
    }
