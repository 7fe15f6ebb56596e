"""Arms and cohorts: who is trained how, and where what was trained lies.

An arm is a way of training. What it has in common with the arm `full`, up to the stage at which
the two part, it takes from there: an ablation of the last stage trains the last stage alone.

A cohort is who a model is trained on:

    all              every subject
    sub-01           that subject alone
    without-01       every other subject: sub-01 is then a stranger
    without-01-4min  every other subject, and the first 4 minutes of sub-01's training scans

In the last one only the readout is solved anew, on the others and on these minutes: the calibration
of a finished decoder to a new person. Encoder, gate, adaptor and LLM stay as they were trained
without that person. What follows the minutes says how others' data serve (`align/stranger.py`):
nothing, people are coupled by anatomy; `-functional`, also by their responses to the same films;
`-unlabelled`, by these responses alone, without a caption; `-alone`, not at all.
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
FULL = "full"  # the arm that others are compared with
CALIBRATED = re.compile(r"(without-([0-9A-Za-z]+))-([0-9.]+)min(?:-(functional|unlabelled|alone))?")
HELP = ("functional", "unlabelled", "alone")  # beside `coupled`, which the name leaves out


@dataclass(frozen=True)
class Cohort:
    """Who a model is trained on.

    Attributes:
        members: subjects of whom all training data are used, sorted.
        target: the subject of whom but some minutes are, or none at all; empty if there is none.
        minutes: of the target's training scans.
        how: others' data serve the target.
    """

    members: tuple[str, ...]
    target: str = ""
    minutes: float = 0.0
    how: str = "coupled"

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Subjects of whom anything is used, sorted: training takes them in this order."""
        return tuple(sorted([*self.members, self.target] if self.minutes else self.members))


def cohort_pattern(subjects: list[str]) -> str:
    """Regular expression of the names of cohorts that are trained."""
    labels = "|".join(subjects)
    return rf"all|sub-({labels})" + (rf"|without-({labels})" if len(subjects) > 1 else "")


def calibrated_pattern(subjects: list[str]) -> str:
    """Regular expression of the names of cohorts that know minutes of somebody."""
    if len(subjects) < 2:
        return "(?!)"
    minutes = r"(?!0+(\.0+)?min)[0-9]+(\.[0-9]+)?min"
    return rf"without-({'|'.join(subjects)})-{minutes}(-({'|'.join(HELP)}))?"


def cohort(name: str, subjects: list[str]) -> Cohort:
    """The cohort of a name that the patterns know; any order of the subjects is the same."""
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
    """Folder of the model that this arm and cohort have after a stage: its own, or a shared one."""
    until = list(SECTIONS)[: list(SECTIONS).index(stage) + 1]
    if FULL in settings.arms:
        own, full = settings.arm(arm), settings.arm(FULL)
        if all(getattr(own, SECTIONS[s]) == getattr(full, SECTIONS[s]) for s in until):
            arm = FULL
    calibrated = CALIBRATED.fullmatch(cohort)
    if calibrated and stage != "adapt":
        cohort = calibrated[1]
    return f"models/{arm}/{cohort}"
