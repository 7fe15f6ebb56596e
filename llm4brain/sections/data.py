"""Sections of the settings about data: the phantom, preprocessing, BOLD, clips, splits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from llm4brain.sections.base import Count, Positive, Settings

WEN2018_RUN = r"^subject[1-3]/(seg|test)[0-9]+_[0-9]+$"


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


# Options of fMRIPrep and its wrapper that are the pipeline's own, or change what it will look for.
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
        "minimal", description="`minimal` is for data in MNI space; real scans want `fmriprep`"
    )
    fs_license: str | None = Field(None, description="FreeSurfer's licence file, for fMRIPrep")
    output_spaces: str = Field("MNI152NLin2009cAsym:res-2", description="as fMRIPrep takes them")
    cifti: bool = Field(False, description="fMRIPrep also writes 91k grayordinates")
    mem_mb: Count = Field(32000, description="memory that fMRIPrep may take")
    omp_threads: Count = Field(4, description="threads of one of fMRIPrep's processes")
    engine: Literal["docker", "apptainer"] = Field(
        "docker", description="what fMRIPrep's container runs in"
    )
    image: str | None = Field(
        None,
        description="container image, if not the wrapper's own; or Apptainer's .sif file",
    )
    extra: list[str] = Field(
        [], description="further words of fMRIPrep's command line, e.g. [--fs-no-reconall]"
    )

    @field_validator("extra")
    @classmethod
    def _not_our_own(cls, extra: list[str]) -> list[str]:
        if extra and not extra[0].startswith("-"):
            raise ValueError(f"begins with {extra[0]!r}, which is no option")
        for word in extra:
            name = word.lstrip("-").split("=")[0].replace("_", "-")
            if word.startswith("--"):  # argparse takes an option's first letters for it
                ours = any(own.startswith(name) for own in OWN_OPTIONS)
            else:
                ours = re.match(r"-[wtiuh]", word) is not None
            if ours:
                raise ValueError(f"{word} is set by the pipeline itself")
        return extra


class BoldSettings(Settings):
    """From derivatives to arrays: confounds, detrending, z-score a run, voxels of the brain."""

    space: Annotated[str, AfterValidator(lambda space: space.replace(":", "_"))] = Field(
        "MNI152NLin2009cAsym",
        description="`space-` of the derivatives that are read; `fsLR`: CIFTI grayordinates",
    )
    voxel_mm: Count = Field(8, description="mm; the shared MNI grid that all subjects get")
    rois: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="of fsLR: areas by name, e.g. V1 or L_V1_ROI; null: the whole cortex"
    )
    atlas: str | None = Field(None, description="of fsLR: the .dlabel.nii that names the areas")
    surfaces: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        None, description="of fsLR: left and right .surf.gii, where vertices lie and maps are drawn"
    )
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


SPLITS = ("train", "validation", "test")
Stimuli = Annotated[
    list[str], Field(description="stim_file of the events, or patterns such as `train/*.mp4`")
]


class Splits(Settings):
    """Whole stimuli: lists of names or patterns, or one table of all of them."""

    train: Stimuli = Field([])
    validation: Stimuli = Field([])
    test: Stimuli = Field([])
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
