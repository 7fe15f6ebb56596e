"""Score any captions: `llm4brain score`, with the same computations as table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm4brain.errors import UserError
from llm4brain.evaluate import bootstrap
from llm4brain.evaluate.captions import LEAST_CIDER, caption_metrics, caption_statistics
from llm4brain.evaluate.diversity import diversity
from llm4brain.evaluate.files import aligned, read_captions
from llm4brain.evaluate.optional_metrics import Measure, measures, of_pictures
from llm4brain.evaluate.similarity import Encoder, sentence_encoder, similarity
from llm4brain.evaluate.spice import corenlp, why_not
from llm4brain.io import write_json
from llm4brain.provenance import record, sha256
from llm4brain.sources import cached

DIGITS = 6


def score_files(
    predictions: Path,
    references: Path,
    out: Path,
    block: float | None,
    samples: int,
    seed: int,
    sentence_model: str,
    bertscore: str | None = None,
    bertscore_layer: int | None = None,
    clip_model: str | None = None,
    frames: Path | None = None,
) -> dict[str, Any]:
    """Score a file of captions against a file of references and write the scores as JSON.

    Args:
        predictions: see `llm4brain.evaluate.files.read_captions`; one caption per clip.
        references: likewise; one or more captions per clip.
        out: JSON to write: the result of `captions_scored`, SHA-256 of both files, settings.
        block: block length in s, see `captions_scored`.
        samples: number of resamples.
        seed: of the resamples.
        sentence_model: source string of the sentence encoder, or `none`.
        bertscore: source string of the BERTScore encoder; None: not computed.
        bertscore_layer: layer whose states are compared; None: that of the original.
        clip_model: source string of a CLIP model; None: no CLIP-score.
        frames: folder of images for CLIP, see `llm4brain.evaluate.optional_metrics.of_pictures`.

    Returns:
        The result of `captions_scored`.

    Raises:
        UserError: a file is not a file of captions, the two have different clips, or only one of
            `clip_model` and `frames` is given.
    """
    if (clip_model is None) != (frames is None):
        wrong = "are of use together alone"
        raise UserError("--clip-model and --frames", wrong, "give both or neither")
    where = f"{predictions} and {references}"
    ids, said, truth = aligned(read_captions(predictions), read_captions(references), where)
    if block is not None:
        try:
            bootstrap.blocks(ids, block)
        except UserError:
            wrong = "wants ids that name film and onset, such as film-01_0004.0"
            raise UserError("--bootstrap-block", wrong, "name them so, or leave it out") from None
    encode = None if sentence_model == "none" else sentence_encoder(cached(sentence_model))
    further = measures(
        corenlp=corenlp(),
        bertscore_model=cached(bertscore) if bertscore else None,
        layer=bertscore_layer,
        clip_model=cached(clip_model) if clip_model else None,
        frames_of=of_pictures(frames) if frames else None,
    )
    scored = captions_scored(ids, said, truth, encode, block, samples, seed, further)
    used = {"block": block, "samples": samples, "sentence_model": sentence_model}
    used |= {"bertscore": bertscore, "bertscore_layer": bertscore_layer, "clip_model": clip_model}
    files = {"predictions_sha256": sha256(predictions), "references_sha256": sha256(references)}
    write_json(out, scored | files | {"provenance": record(used, "", seed)})
    return scored


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, str | Sequence[str]],
    n_bootstrap: int = 0,
    seed: int = 0,
    sentence_model: str | None = None,
) -> dict[str, Any]:
    """Score captions against references.

    Args:
        predictions: clip -> caption.
        references: clip -> one or more captions; of the same clips.
        n_bootstrap: resamples of clips for 95% intervals; 0 gives none.
        seed: of the resamples.
        sentence_model: source string of the encoder of similarity, e.g. `path:folder`; None leaves
            similarity out.

    Returns:
        See `captions_scored`.

    Raises:
        UserError: the two are not of the same clips, or a reference holds no word.

    Examples:
        >>> said = {"clip1": "a dog runs", "clip2": "a cat sleeps"}
        >>> truth = {"clip1": ["a dog is running", "a dog runs"], "clip2": ["a cat is asleep"]}
        >>> score_captions(said, truth)["bleu1"]  # doctest: +SKIP
        78.38...
    """
    own = {clip: [caption] for clip, caption in predictions.items()}
    truth = {
        c: [given] if isinstance(given, str) else list(given) for c, given in references.items()
    }
    ids, captions, known = aligned(own, truth, "predictions and references")
    encode = sentence_encoder(cached(sentence_model)) if sentence_model else None
    return captions_scored(ids, captions, known, encode, None, n_bootstrap, seed)


def captions_scored(
    ids: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    encode: Encoder | None,
    seconds: float | None,
    samples: int,
    seed: int,
    further: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:
    """Metrics with 95% intervals for one caption per clip.

    Args:
        ids: of the clips.
        predictions: one caption each; may be empty.
        references: one or more each.
        encode: see `llm4brain.evaluate.similarity.sentence_encoder`; None: no similarity.
        seconds: length of the resampled blocks; ids must then have the form
            `<stimulus>_<onset in seconds>`. None resamples single clips. This is correct if
            neighbours are no more similar than any two clips (photographs); for films the
            intervals are too narrow.
        samples: number of resamples; 0: no intervals.
        seed: of the resamples.
        further: see `llm4brain.evaluate.optional_metrics.measures`.

    Returns:
        n_clips, bleu1..bleu4, meteor, rouge_l, cider (0-100 as in papers: pycocoevalcap's value
        times 100), similarity (-1 to 1), diversity and distinct2 (0-100); `<metric>_low` and
        `<metric>_high` of all metrics that are sums over clips; the `further` metrics; spice is
        None if it is not available, with the reason in `spice_why`; so is the cider of a single
        clip, with `cider_why`.

    Raises:
        UserError: a reference contains no word, Java does not run, ids have no onset, or the clips
            are a single block and intervals are asked for.
    """
    block = np.arange(len(ids)) if seconds is None else bootstrap.blocks(ids, seconds)
    weights = bootstrap.resample(block, samples, seed) if samples else np.zeros((0, len(ids)))
    weights = np.concatenate([np.ones((1, len(ids))), weights])  # row 0: each clip once
    statistics = caption_statistics({"own": predictions}, references)["own"]
    values = caption_metrics(statistics, weights)
    for metric, measure in (further or {}).items():
        found = measure(ids, {"own": predictions}, {"own": references})["own"]
        values[metric] = weights @ found / weights.sum(axis=1)
    if encode is not None:
        alike = similarity({"own": predictions}, references, encode, pairs=False)["own"]
        values["similarity"] = weights @ alike / weights.sum(axis=1)
    result: dict[str, Any] = {"n_clips": len(ids)}
    if samples and block.max() == 0:
        wrong = "is a single clip" if len(ids) == 1 else f"are one block of {seconds:g} s"
        todo = (
            "shorten the blocks, or set n_bootstrap to 0"
            if len(ids) > 1
            else "set n_bootstrap to 0"
        )
        raise UserError("clips", f"{wrong}: no interval can be given", todo)
    if len(ids) < LEAST_CIDER:
        del values["cider"]
        wrong = f"CIDEr weighs words by how few clips have them, and needs {LEAST_CIDER} clips"
        result |= {"cider": None, "cider_why": wrong}
    for metric, own in values.items():
        result[metric] = round(float(own[0]), DIGITS) + 0.0
        if samples:
            ends = bootstrap.interval(own[1:], int(block.max()) + 1)
            for name, end in zip(("low", "high"), ends, strict=True):
                result[f"{metric}_{name}"] = round(end, DIGITS) + 0.0
    if "spice" not in result:
        result |= {"spice": None, "spice_why": why_not()}
    return result | {k: round(v, DIGITS) for k, v in diversity(predictions).items()}
