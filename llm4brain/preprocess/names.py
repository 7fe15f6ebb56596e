"""fMRIPrep's file names: one raw BOLD run -> the names of what preprocessing makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from llm4brain.errors import UserError

PAIR = re.compile(r"([a-zA-Z]+)-([0-9a-zA-Z+]+)")
# What a derivative adds to the entities of its raw file.
ADDED = ("space", "cohort", "res", "den", "desc")


@dataclass(frozen=True)
class Recording:
    """One BOLD run, known by its BIDS entities, in the order in which its name holds them.

    >>> run = Recording.parse("sub-01_ses-02_task-film_run-03_bold.nii.gz")
    >>> run.subject, run["run"], run["acq"]
    ('01', '03', None)
    >>> run.bold("MNI152NLin2009cAsym", "2")
    'sub-01/ses-02/func/sub-01_ses-02_task-film_run-03_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz'
    >>> Recording.parse(run.confounds()) == run
    True
    """

    entities: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, path: str | PurePath) -> Recording:
        """Read the entities off a raw or a derivative file's name.

        Raises:
            UserError: the name holds no subject, or is not made of `key-value` parts.
        """
        *parts, _suffix = PurePath(path).name.split("_")
        pairs = [PAIR.fullmatch(part) for part in parts]
        if not pairs or None in pairs or pairs[0][1] != "sub":  # type: ignore[index]
            raise UserError(
                path, "is not named as BIDS wants it", "name it sub-XX_[ses-YY_]task-ZZ_bold.nii.gz"
            )
        return cls(tuple((m[1], m[2]) for m in pairs if m and m[1] not in ADDED))

    def __getitem__(self, entity: str) -> str | None:
        return dict(self.entities).get(entity)

    def without(self, entity: str) -> Recording:
        """The run less one entity: fMRIPrep combines echoes, and names the result without."""
        return Recording(tuple(pair for pair in self.entities if pair[0] != entity))

    def of(self, tasks: Sequence[str]) -> bool:
        """Whether the run's task is one of these or is like one; with none, every run's is.

        Phase images (`part-phase`) are no BOLD, and of no task.

        >>> Recording.parse("sub-01_task-s01e02_bold.nii.gz").of(["rest", "s01*"])
        True
        >>> Recording.parse("sub-01_task-film_part-phase_bold.nii.gz").of([])
        False
        """
        return self["part"] in (None, "mag") and (
            not tasks or any(fnmatchcase(self["task"] or "", task) for task in tasks)
        )

    @property
    def subject(self) -> str:
        return self.entities[0][1]

    @property
    def stem(self) -> str:
        """The raw file's name up to its suffix: `sub-01_task-film_run-01`."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)

    @property
    def folder(self) -> str:
        """`sub-XX[/ses-YY]/func`, in the raw data set and in the derivatives."""
        session = self["ses"]
        return f"sub-{self.subject}/" + (f"ses-{session}/" if session else "") + "func"

    def _in(self, space: str, resolution: str | None, rest: str) -> str:
        resolved = f"_res-{resolution}" if resolution else ""
        return f"{self.folder}/{self.stem}_space-{space}{resolved}_{rest}"

    def bold(self, space: str, resolution: str | None = None) -> str:
        return self._in(space, resolution, "desc-preproc_bold.nii.gz")

    def bold_json(self, space: str, resolution: str | None = None) -> str:
        return self._in(space, resolution, "desc-preproc_bold.json")

    def mask(self, space: str, resolution: str | None = None) -> str:
        return self._in(space, resolution, "desc-brain_mask.nii.gz")

    def confounds(self) -> str:
        return f"{self.folder}/{self.stem}_desc-confounds_timeseries.tsv"

    def confounds_json(self) -> str:
        return f"{self.folder}/{self.stem}_desc-confounds_timeseries.json"

    def cifti(self) -> str:
        return f"{self.folder}/{self.stem}_space-fsLR_den-91k_bold.dtseries.nii"

    def cifti_json(self) -> str:
        return f"{self.folder}/{self.stem}_space-fsLR_den-91k_bold.json"


def output_spaces(text: str) -> list[tuple[str, str | None]]:
    """Read fMRIPrep's `--output-spaces`: standard volume spaces and their resolution.

    A cohort is part of the space's name, as in the names of files.

    >>> output_spaces("MNI152NLin2009cAsym:res-2 MNI152NLin6Asym fsaverage5")
    [('MNI152NLin2009cAsym', '2'), ('MNI152NLin6Asym', None)]
    >>> output_spaces("MNIPediatricAsym:cohort-5:res-2")
    [('MNIPediatricAsym_cohort-5', '2')]
    """
    spaces = []
    for word in text.split():
        space, *modifiers = word.split(":")
        resolution = next((m.removeprefix("res-") for m in modifiers if m.startswith("res-")), None)
        space = "_".join([space, *(m for m in modifiers if m.startswith("cohort-"))])
        if space.startswith("MNI"):
            spaces.append((space, resolution))
    return spaces
