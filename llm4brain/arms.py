"""Arms and cohorts: who is trained how, and where what was trained lies.

An arm is a way of training. What it has in common with the arm `full`, up to the stage at which
the two part, it takes from there: an ablation of the last stage trains the last stage alone.

A cohort is who a model is trained on:

    all              every subject
    sub-01           that subject alone
    without-01       every other subject: sub-01 is then a stranger
    without-01-4min  every other subject, and the first 4 minutes of sub-01's training scans

In the last one the readout and its adaptors are fitted anew, on the others and on these minutes:
the calibration of a finished decoder to a new person. The encoder and the LLM stay as they were
trained without that person.
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
CALIBRATED = re.compile(r"(without-[0-9A-Za-z]+)-([0-9.]+)min")


@dataclass(frozen=True)
class Cohort:
    """Who a model is trained on.

    Attributes:
        members: subjects of whom all training data are used, sorted.
        target: the subject of whom but some minutes are, or none at all; empty if there is none.
        minutes: of the target's labelled training scans.
    """

    members: tuple[str, ...]
    target: str = ""
    minutes: float = 0.0

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Subjects of whom anything is used, sorted: training takes them in this order."""
        return tuple(sorted([*self.members, self.target] if self.minutes else self.members))


def cohort_pattern(subjects: list[str]) -> str:
    """Regular expression of the names of cohorts."""
    labels = "|".join(subjects)
    several = (
        rf"|without-({labels})(-(?!0+(\.0+)?min)[0-9]+(\.[0-9]+)?min)?" if len(subjects) > 1 else ""
    )
    return rf"all|sub-({labels}){several}"


def cohort(name: str, subjects: list[str]) -> Cohort:
    """The cohort of a name that `cohort_pattern` knows; any order of the subjects is the same."""
    if name == "all":
        return Cohort(tuple(sorted(subjects)))
    kind, _, rest = name.partition("-")
    if kind == "sub":
        return Cohort((rest,))
    target, _, minutes = rest.partition("-")
    others = tuple(sorted(s for s in subjects if s != target))
    return Cohort(others, target, float(minutes.removesuffix("min") or 0))


def twin(settings: Config, arm: str) -> str:
    """The arm that has this one's tuning where both read every clip alike; empty if there is none.

    Whether they do is known once both are adapted: where validation chooses to take nothing of
    the encoder, arms that differ in the encoder alone read alike.
    """
    if arm == FULL or FULL not in settings.arms:
        return ""
    same = settings.arm(arm).tune == settings.arm(FULL).tune
    return FULL if same else ""


def home(settings: Config, stage: Stage, arm: str, cohort: str) -> str:
    """Folder of the model that this arm and cohort have after a stage: its own, or a shared one."""
    until = list(SECTIONS)[: list(SECTIONS).index(stage) + 1]
    if FULL in settings.arms:
        own, full = settings.arm(arm), settings.arm(FULL)
        if all(getattr(own, SECTIONS[s]) == getattr(full, SECTIONS[s]) for s in until):
            arm = FULL
    calibrated = CALIBRATED.fullmatch(cohort)
    if calibrated and stage in ("pretrain", "tune"):
        cohort = calibrated[1]
    return f"models/{arm}/{cohort}"
