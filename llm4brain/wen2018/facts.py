"""What is published of Wen 2018: its films and runs, how they lie on disk, and when they began.

Source: the Purdue University Research Repository, 10.4231/R7SF2TCW (CC0), and its readme.

Time. A film of 480 s was scanned in volumes of 2 s, which the NIfTI headers do not say reliably.
Recording began 2 s after the film for segments and test1 (245 volumes), with it for the other
tests (246). On the clock of a run, volume k stands for 2k s, so its film began at -2 s or at 0.
The authors drop the first volume of 245 or the first two of 246 and the last four, and so pair
second 2k of the film with what was recorded at 2k + 4: **their trimming is a lag of 4 s**. Here
nothing is trimmed, and `clips.lag` is the only lag there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from llm4brain.preprocess.names import Recording

Kind = Literal["mni", "cifti"]

TR = 2.0  # s
FILM_SECONDS = 480.0
SUBJECTS = (1, 2, 3)
SEGMENTS = tuple(f"seg{k}" for k in range(1, 19))
TESTS = tuple(f"test{k}" for k in range(1, 6))
STIMULI = SEGMENTS + TESTS
FILMS = tuple(f"{name}.mp4" for name in STIMULI)
KINDS: tuple[Kind, ...] = ("mni", "cifti")
# subject, run: what is wrong with it
LEFT_OUT = {(3, "test2_9"): "about 10 s out of step with its film"}

# One file (subject1, test1_9) has a dot where all others have an underscore.
ENDS: dict[Kind, tuple[str, ...]] = {
    "mni": ("_mni.nii.gz", ".mni.nii.gz"),
    "cifti": ("_Atlas.dtseries.nii",),
}
NAME = re.compile(r"((?:seg|test)\d+)_(\d+)(?:[_.]mni\.nii\.gz|_Atlas\.dtseries\.nii)")


@dataclass(frozen=True, order=True)
class Scan:
    """One showing of a film to a subject.

    Attributes:
        subject: 1 to 3.
        stimulus: `seg1` to `seg18`, `test1` to `test5`.
        repeat: from 1.

    >>> scan = Scan.parse(1, "subject1/fmri/test1/mni/test1_9.mni.nii.gz")
    >>> scan.name, scan.volumes, scan.onset
    ('test1_9', 245, -2.0)
    >>> scan.recording("01").stem
    'sub-01_task-test1_run-09'
    """

    subject: int
    stimulus: str
    repeat: int

    @classmethod
    def parse(cls, subject: int, path: str | PurePath) -> Scan | None:
        """Read a file's name; None if it is not one of Wen 2018's scans."""
        match = NAME.fullmatch(PurePath(path).name)
        return cls(subject, match[1], int(match[2])) if match else None

    @property
    def name(self) -> str:
        return f"{self.stimulus}_{self.repeat}"

    @property
    def volumes(self) -> int:
        return 246 if self._begins_with_film else 245

    @property
    def onset(self) -> float:
        """When the film began, s on the clock of the run."""
        return 0.0 if self._begins_with_film else -2.0

    @property
    def _begins_with_film(self) -> bool:
        return self.stimulus in TESTS[1:]

    def files(self, kind: Kind) -> list[str]:
        """What the file may be called, below `video_fmri_dataset/`."""
        folder = f"subject{self.subject}/fmri/{self.stimulus}/{kind}"
        return [f"{folder}/{self.name}{end}" for end in ENDS[kind]]

    def recording(self, label: str) -> Recording:
        """The run in BIDS: its film is the task, its repeat the run."""
        run = f"{self.repeat:02d}"
        return Recording((("sub", label), ("task", self.stimulus), ("run", run)))


def repeats(stimulus: str) -> range:
    """The published showings of a film to each subject: 2 of a segment, 10 of a test.

    >>> list(repeats("seg1"))
    [1, 2]
    """
    return range(1, 11 if stimulus in TESTS else 3)


def scans(subject: int, stimuli: Iterable[str], leave_out: Iterable[str] = ()) -> list[Scan]:
    """A subject's scans of some films, without those that are out of step.

    Args:
        leave_out: further ones, as `subject1/seg3_2`.

    >>> len(scans(3, STIMULI)), len(scans(3, ["test2"], ["subject3/test2_1"]))
    (85, 8)
    """
    out = set(leave_out)
    return [
        scan
        for stimulus in stimuli
        for scan in (Scan(subject, stimulus, k) for k in repeats(stimulus))
        if (subject, scan.name) not in LEFT_OUT and f"subject{subject}/{scan.name}" not in out
    ]
