"""Sections of the settings about data: the phantom, preprocessing, BOLD, clips, splits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from llm4brain.errors import some
from llm4brain.sections.base import Count, Positive, Settings

WEN2018_RUN = r"^subject[1-3]/(seg|test)[0-9]+_[0-9]+$"


class PhantomSettings(Settings):
    """The simulated cohort: how many films, how they are shown, how noisy the BOLD is."""

    films: Count = Field(12, description="number of films that the cohort watches")
    clips_per_film: Count = Field(60, description="scenes per film, without gaps")
    clip_seconds: Positive = Field(4.0, description="seconds; length of a scene")
    repeats: Count = Field(2, description="showings of each train or validation film")
    test_films: Count = Field(
        2, description="number of test films: the last ones, with scene combinations of their own"
    )
    test_repeats: Count = Field(4, description="showings of each test film")
    lead_in: float = Field(8.0, description="seconds of scanning before each film")
    lead_out: float = Field(16.0, description="seconds of scanning after each film")
    tr: Positive = Field(2.0, description="seconds; repetition time")
    voxel_mm: Positive = Field(8.0, description="mm; voxel size of the simulated scans")
    snr: Annotated[float, Field(ge=0)] = Field(
        0.1, description="var(signal) / var(noise) of a single trial, in tuned voxels"
    )
    frame_size: Count = Field(128, description="pixels; frame height and width")
    fps: Positive = Field(5.0, description="frames per second")
    captions_per_clip: Count = Field(4, description="reference captions per clip")
    video_films: Count = Field(
        25, description="number of separate films that train the small video-LLM"
    )


# Options of fMRIPrep and its wrapper that the pipeline sets itself, or that change its outputs.
OWN_OPTIONS = (
    *("participant-label", "session-label", "task-id", "echo-idx", "bids-filter-file"),
    *(
        "fs-license-file",
        "output-spaces",
        "output-layout",
        "cifti-output",
        "work-dir",
        "config-file",
    ),
    *("nthreads", "nprocs", "n-cpus", "omp-nthreads", "mem", "mem-mb", "level", "reports-only"),
    *("boilerplate-only", "skip-bids-validation", "notrack", "no-tty", "user", "image", "shell"),
    *("help", "version"),
)


class PreprocessSettings(Settings):
    """From raw BIDS to derivatives."""

    backend: Literal["minimal", "fmriprep"] = Field(
        "minimal",
        description="`minimal`: only for data already in MNI space; real scans need `fmriprep`",
    )
    fs_license: str | None = Field(None, description="FreeSurfer licence file, for fMRIPrep")
    output_spaces: str = Field(
        "MNI152NLin2009cAsym:res-2", description="fMRIPrep's --output-spaces"
    )
    cifti: bool = Field(False, description="also write 91k grayordinates with fMRIPrep")
    mem_mb: Count = Field(32000, description="memory limit of fMRIPrep, MB")
    omp_threads: Count = Field(4, description="threads per fMRIPrep process")
    engine: Literal["docker", "apptainer"] = Field(
        "docker", description="container engine that runs fMRIPrep"
    )
    image: str | None = Field(
        None,
        description="container image or Apptainer .sif file; null: the wrapper's default",
    )
    extra: list[str] = Field(
        [], description="further arguments of fMRIPrep, e.g. [--fs-no-reconall]"
    )

    @field_validator("extra")
    @classmethod
    def _not_our_own(cls, extra: list[str]) -> list[str]:
        if extra and not extra[0].startswith("-"):
            raise ValueError(f"begins with {extra[0]!r}, which is not an option")
        for word in extra:
            name = word.lstrip("-").split("=")[0].replace("_", "-")
            if word.startswith("--"):  # argparse accepts abbreviated options
                ours = any(own.startswith(name) for own in OWN_OPTIONS)
            else:
                ours = re.match(r"-[wtiuh]", word) is not None
            if ours:
                raise ValueError(f"{word} is set by the pipeline itself")
        return extra


class BoldSettings(Settings):
    """From derivatives to arrays: confounds, detrending, z-score per run, brain voxels."""

    space: Annotated[str, AfterValidator(lambda space: space.replace(":", "_"))] = Field(
        "MNI152NLin2009cAsym",
        description="`space-` of the derivatives to read; `fsLR`: CIFTI grayordinates",
    )
    voxel_mm: Count = Field(8, description="mm; voxel size of the MNI grid shared by all subjects")
    rois: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="with fsLR: names of areas, e.g. V1 or L_V1_ROI; null: the whole cortex"
    )
    atlas: str | None = Field(
        None, description="with fsLR: .dlabel.nii file that defines the areas"
    )
    surfaces: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="with fsLR: left and right .surf.gii, for vertex positions and drawing maps",
    )
    confounds: Literal["simple", "motion", "none", "polynomial"] = Field(
        "simple",
        description="`simple`: 24 motion, WM, CSF, high-pass; `motion`: 24 motion, high-pass; "
        "`none`: high-pass; `polynomial`: 4th-order polynomial, as the authors of Wen 2018 do",
    )
    high_pass: Positive = Field(
        0.008, description="Hz; used if the confounds contain no cosine regressors"
    )
    fd_threshold: Positive = Field(
        1.0, description="mm; volumes with larger framewise displacement are marked invalid"
    )


class Wen2018Settings(Settings):
    """Wen 2018 as downloaded, for `dataset: wen2018`."""

    roots: list[str] = Field(
        [], description="folders of the unpacked archives; if a file is in two, the first is used"
    )
    kind: Literal["mni", "cifti"] = Field(
        "mni", description="volumes (bold.space MNI152NLin6Asym) or grayordinates (fsLR)"
    )
    leave_out: list[Annotated[str, Field(pattern=WEN2018_RUN)]] = Field(
        [], description="runs to exclude, e.g. subject1/seg3_2; subject3/test2_9 is always excluded"
    )

    @property
    def space(self) -> str:
        """`space-` label of the derivatives. Volumes are in FSL's MNI152, here by its BIDS name."""
        return {"mni": "MNI152NLin6Asym", "cifti": "fsLR"}[self.kind]


class ClipSettings(Settings):
    """Clips of the stimuli, and the BOLD window that is read for each clip."""

    duration: Positive = Field(
        4.0, description="seconds; length of the clips into which films are cut"
    )
    lag: float = Field(6.0, description="seconds from clip onset to the first volume of the window")
    window: Positive = Field(4.0, description="seconds of BOLD read per clip")
    frames: Count = Field(2, description="frames per clip given to the video model")


SPLITS = ("train", "validation", "test")
Stimuli = Annotated[
    list[str],
    Field(description="stim_file values of the events, or patterns such as `train/*.mp4`"),
]


class Splits(Settings):
    """Splits by whole stimuli: lists of names or patterns, or one table for all."""

    train: Stimuli = Field([])
    validation: Stimuli = Field([])
    test: Stimuli = Field([])
    table: str | None = Field(
        None,
        description="TSV with stim_file and split (train, validation, test), instead of the lists",
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
            raise ValueError(f"in more than one place: {some(twice)}")
        return self
