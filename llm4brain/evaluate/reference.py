"""The arm `reference`: floors, linear baselines and ceilings for one subject's test clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from llm4brain.align.reader import BrainReader
from llm4brain.clips import average_repeats, first_showings, require_valid
from llm4brain.errors import UserError
from llm4brain.evaluate.baselines import (
    Form,
    Ridge,
    Seen,
    best_ridges,
    constant_caption,
    nearest,
    random_clips,
    typical_captions,
)
from llm4brain.evaluate.names import CENTRE, TRUTH
from llm4brain.evaluate.references import references_of


@dataclass(frozen=True)
class Decoded:
    """Texts and readings of the systems for the test clips.

    Attributes:
        table: clip_id, system, kind, text; one row per system and clip.
        clip_ids: the test clips, in the order of the readings' rows.
        readings: `<system>` and `truth` (clips, D) float32; `centre` (D,), the mean of `truth`
            over train clips.
        ridge: system -> choices of its ridge: form, scale, alpha, power and penalty, also in words,
            and the validation score of each penalty.
    """

    table: pd.DataFrame
    clip_ids: list[str]
    readings: dict[str, np.ndarray]
    ridge: dict[str, Any]


def per_clip(
    windows: np.ndarray, trials: pd.DataFrame, repeats: Literal["average", "single"]
) -> tuple[np.ndarray, pd.DataFrame]:
    """One window per clip: the mean over valid showings; `single`: the first valid one for test
    clips.

    Train clips are always averaged; the setting only applies to test clips.
    """
    test, every = (trials["split"] == "test").to_numpy(), trials
    if repeats == "single":
        shown, rows = first_showings(windows[test], trials[test])
        windows = np.concatenate([windows[~test], shown])
        trials = pd.concat([trials[~test], rows], ignore_index=True)
    means, table = average_repeats(windows, trials)
    require_valid(every, table, "trials")
    return means, table


def reference_systems(
    windows: np.ndarray,
    trials: pd.DataFrame,
    video_ids: list[str],
    video_tokens: np.ndarray,
    captions: pd.DataFrame,
    generated: pd.DataFrame,
    reader: BrainReader,
    say: Callable[[np.ndarray], list[str]],
    repeats: Literal["average", "single"],
    seed: tuple[int, ...],
) -> Decoded:
    """Decode with `constant`, `random`, the ridges of `FAMILIES`, `nearest` and `video`.

    `ridge_llm` generates text from the reading of ridge. If test clips are averaged over showings,
    `ridge_single` uses the first showing only.

    Args:
        windows: shape (trials, volumes, voxels), of one subject.
        trials: rows of `windows`: clip_id, split, run, repeat, valid.
        video_ids: clips of `video_tokens`, in order.
        video_tokens: shape (clips, K, d).
        captions: clip_id, caption; only those of train clips are used.
        generated: clip_id, caption; the video-LLM's own captions of the test clips.
        reader: ridge uses only its frozen encoder and its gate, which were not trained on captions
            or video tokens. It never uses the adaptor, mean or weights, which were.
        say: generates text from readings (n, K, d), with an LLM that was not tuned on fMRI.
        repeats: content of a test window, see `per_clip`.
        seed: of the random floor.

    Raises:
        UserError: a clip has no video tokens, or a train clip has no caption.
    """
    first = per_clip(windows, trials, "single") if repeats == "average" else None
    windows, table = per_clip(windows, trials, repeats)
    row = {clip: i for i, clip in enumerate(video_ids)}
    missing = [clip for clip in table["clip_id"] if clip not in row]
    if missing:
        wrong = f"hold no tokens for {len(missing)} clips, such as {missing[0]}"
        raise UserError("video features", wrong, "make them anew from the same clip table")
    flat = video_tokens.reshape(len(video_tokens), -1)
    part, tokens, clips = {}, {}, {}
    for split in ("train", "validation", "test"):
        own = (table["split"] == split).to_numpy()
        if not own.any():
            raise UserError("features", f"hold no valid {split} clip", "correct splits or masks")
        clips[split] = table["clip_id"][own].tolist()
        part[split] = _seen(windows[own], reader)
        tokens[split] = flat[[row[clip] for clip in clips[split]]]

    references = references_of(captions, clips["train"])
    typical = typical_captions(references)
    ridges = best_ridges(
        part["train"],
        tokens["train"],
        part["validation"],
        tokens["validation"],
        reader.agreement,
    )
    reads = {name: ridge.read(form.of(part["test"])) for name, (form, ridge) in ridges.items()}
    form, ridge = ridges["ridge"]
    if first is not None:
        shown = dict(zip(first[1]["clip_id"], first[0], strict=True))
        single = np.stack([shown[clip] for clip in clips["test"]])
        reads["ridge_single"] = ridge.read(form.of(_seen(single, reader)))
    closest = nearest(tokens["test"], tokens["train"], ridge.centre)
    n = len(clips["test"])
    blind = random_clips(len(clips["train"]), n, seed)
    which = np.random.default_rng([*seed, 1]).random(n)  # index of the caption within the clip
    z_f = reads["ridge"].astype(np.float32).reshape(n, *video_tokens.shape[1:])  # (n, K, d)
    texts = {
        ("constant", "floor"): [constant_caption(references)] * n,
        ("random", "floor"): [
            references[c][int(u * len(references[c]))] for c, u in zip(blind, which, strict=True)
        ],
        **{
            (name, "baseline"): [typical[i] for i in nearest(own, tokens["train"], ridge.centre)]
            for name, own in reads.items()
        },
        ("ridge_llm", "baseline"): say(z_f),
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
        "random": tokens["train"][blind],
        **reads,
        "ridge_llm": reads["ridge"],
        "nearest": tokens["train"][closest],
        "video": tokens["test"],
        TRUTH: tokens["test"],
        CENTRE: ridge.centre,
    }
    readings = {name: array.astype(np.float32) for name, array in readings.items()}
    took = {name: _took(*own) for name, own in ridges.items()}
    return Decoded(said, clips["test"], readings, took)


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
