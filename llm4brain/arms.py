"""Experiments (arms) and training sets (cohorts), and the folders of the models.

An arm is a variant of the training. Its stages are shared with the arm `full` up to the first stage
that differs, so an ablation of the last stage trains only the last stage.

A cohort is the set of subjects that a model is trained on:

    all              every subject
    sub-01           that subject only
    without-01       every other subject: sub-01 is then a new person
    without-01-4min  every other subject, and the first 4 minutes of sub-01's training scans

The last one calibrates a trained decoder to a new person: only the readout is solved again, on the
others and on these minutes. Encoder, gate, adaptor and LLM remain as trained without that person.
The suffix after the minutes says how the others' data are used (`align/stranger.py`): with no
suffix, people are coupled by anatomy; with `-functional`, also by their responses to the same
films; with `-unlabelled`, by these responses only, without captions; with `-gated`, by encoder,
gate and whitening, but not by the readout; with `-alone`, by settings and component weights only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llm4brain.config import Config
from llm4brain.sections import OfArm

Stage = Literal["pretrain", "align", "adapt", "tune"]
SECTIONS: dict[Stage, OfArm] = {
    "pretrain": "encoder",
    "align": "align",
    "adapt": "adapt",
    "tune": "tune",
}
FULL = "full"  # the reference arm
HELP = ("functional", "unlabelled", "gated", "alone")  # `coupled`, the default, has no suffix
CALIBRATED = re.compile(rf"(without-([0-9A-Za-z]+))-([0-9.]+)min(?:-({'|'.join(HELP)}))?")


@dataclass(frozen=True)
class Cohort:
    """The training set of a model.

    Attributes:
        members: subjects of whom all training data are used, sorted.
        target: the subject of whom only some minutes are used, or none; empty if there is none.
        minutes: of the target's training scans.
        how: how the others' data are used for the target.
    """

    members: tuple[str, ...]
    target: str = ""
    minutes: float = 0.0
    how: str = "coupled"

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Subjects whose data are used, sorted, which is their order in training."""
        return tuple(sorted([*self.members, self.target] if self.minutes else self.members))


def cohort_pattern(subjects: list[str]) -> str:
    """Regular expression for the names of cohorts on which all stages are trained."""
    labels = "|".join(subjects)
    return rf"all|sub-({labels})" + (rf"|without-({labels})" if len(subjects) > 1 else "")


def calibrated_pattern(subjects: list[str]) -> str:
    """Regular expression for the names of cohorts with calibration minutes."""
    if len(subjects) < 2:
        return "(?!)"
    minutes = r"(?!0+(\.0+)?min)[0-9]+(\.[0-9]+)?min"
    return rf"without-({'|'.join(subjects)})-{minutes}(-({'|'.join(HELP)}))?"


def cohort(name: str, subjects: list[str]) -> Cohort:
    """The cohort with this name; the order of `subjects` does not matter."""
    if name == "all":
        return Cohort(tuple(sorted(subjects)))
    kind, _, rest = name.partition("-")
    if kind == "sub":
        return Cohort((rest,))
    found = CALIBRATED.fullmatch(name)
    target = found[2] if found else rest
    others = tuple(sorted(s for s in subjects if s != target))
    if not found:
        return Cohort(others, target)
    return Cohort(others, target, float(found[3]), found[4] or "coupled")


def home(settings: Config, stage: Stage, arm: str, cohort: str) -> str:
    """Folder of the model of this arm and cohort after a stage: its own, or a shared one."""
    until = list(SECTIONS)[: list(SECTIONS).index(stage) + 1]
    if FULL in settings.arms:
        own, full = settings.arm(arm), settings.arm(FULL)
        if all(getattr(own, SECTIONS[s]) == getattr(full, SECTIONS[s]) for s in until):
            arm = FULL
    calibrated = CALIBRATED.fullmatch(cohort)
    if calibrated and stage != "adapt":
        cohort = calibrated[1]
    return f"models/{arm}/{cohort}"
