"""The arm `reference`: what the systems without a trained encoder say of a subject's test clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from llm4brain.clips import average_repeats, first_showings
from llm4brain.errors import UserError
from llm4brain.evaluate.baselines import (
    FORMS,
    best_ridge,
    constant_caption,
    nearest,
    random_clips,
    typical_captions,
)
from llm4brain.evaluate.names import CENTRE, TRUTH
from llm4brain.evaluate.references import references_of


@dataclass(frozen=True)
class Decoded:
    """What systems say of test clips, and where their readings lie.

    Attributes:
        table: clip_id, system, kind, text; a row a system and clip.
        clip_ids: the test clips, in the order of the readings' rows.
        readings: `<system>` and `truth` (clips, D) float32; `centre` (D,), the mean of `truth`
            over train clips.
        ridge: the penalty that was chosen, and what each of the grid reached on validation.
    """

    table: pd.DataFrame
    clip_ids: list[str]
    readings: dict[str, np.ndarray]
    ridge: dict[str, Any]


def per_clip(
    windows: np.ndarray, trials: pd.DataFrame, repeats: Literal["average", "single"]
) -> tuple[np.ndarray, pd.DataFrame]:
    """One window a clip: the mean over valid showings; `single`: a test clip's first valid one.

    Training always averages, since it may; the setting says how much data a test reading gets.
    """
    test = (trials["split"] == "test").to_numpy()
    if repeats == "single":
        shown, rows = first_showings(windows[test], trials[test])
        windows = np.concatenate([windows[~test], shown])
        trials = pd.concat([trials[~test], rows], ignore_index=True)
    return average_repeats(windows, trials)


def reference_systems(
    windows: np.ndarray,
    trials: pd.DataFrame,
    video_ids: list[str],
    video_tokens: np.ndarray,
    captions: pd.DataFrame,
    generated: pd.DataFrame,
    repeats: Literal["average", "single"],
    seed: tuple[int, ...],
) -> Decoded:
    """Decode with `constant`, `random`, `ridge`, `nearest` and `video`.

    Where a test reading is an average over showings, `ridge_single` reads the first one.

    Args:
        windows: shape (trials, volumes, voxels), a subject's.
        trials: its rows: clip_id, split, run, repeat, valid.
        video_ids: clips of `video_tokens`, in order.
        video_tokens: shape (clips, K, d).
        captions: clip_id, caption; of train clips alone are they read.
        generated: clip_id, caption; what the video-LLM says of each test clip itself.
        repeats: what a test window holds, see `per_clip`.
        seed: of the random floor.

    Raises:
        UserError: a clip has no video tokens, or a train clip no caption.
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
        part[split] = windows[own]
        tokens[split] = flat[[row[clip] for clip in clips[split]]]

    references = references_of(captions, clips["train"])
    typical = typical_captions(references)
    form, ridge = best_ridge(
        part["train"], tokens["train"], part["validation"], tokens["validation"]
    )
    read = ridge.read(FORMS[form](part["test"]))
    reads = {"ridge": read}
    if first is not None:
        shown = dict(zip(first[1]["clip_id"], first[0], strict=True))
        single = np.stack([shown[clip] for clip in clips["test"]])
        reads["ridge_single"] = ridge.read(FORMS[form](single))
    closest = nearest(tokens["test"], tokens["train"], ridge.centre)
    n = len(clips["test"])
    blind = random_clips(len(clips["train"]), n, seed)
    which = np.random.default_rng([*seed, 1]).random(n)  # which of the clip's captions
    texts = {
        ("constant", "floor"): [constant_caption(references)] * n,
        ("random", "floor"): [
            references[c][int(u * len(references[c]))] for c, u in zip(blind, which, strict=True)
        ],
        **{
            (name, "baseline"): [typical[i] for i in nearest(own, tokens["train"], ridge.centre)]
            for name, own in reads.items()
        },
        # who read the clip perfectly, but could only say what was written of a train clip
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
        "nearest": tokens["train"][closest],
        "video": tokens["test"],
        TRUTH: tokens["test"],
        CENTRE: ridge.centre,
    }
    chosen = {
        "form": form,
        "penalty": ridge.penalty,
        "validation": np.round(ridge.validation, 6).tolist(),
    }
    readings = {name: array.astype(np.float32) for name, array in readings.items()}
    return Decoded(said, clips["test"], readings, chosen)
