"""Samples for fitting an alignment stage, as computed by the frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llm4brain.align.reader import BrainReader
from llm4brain.brain.cohort import Cohort


@dataclass(frozen=True)
class Samples:
    """Windows of clips that people saw, with their targets.

    Attributes:
        mean: (n, positions) mean volumes.
        predictable: (n, positions) the part predicted by masked modelling.
        subjects, stimuli, clips: (n,) labels.
        targets: (n, rank) components of each clip's video tokens.
    """

    mean: np.ndarray
    predictable: np.ndarray
    subjects: np.ndarray
    stimuli: np.ndarray
    clips: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.subjects)

    @classmethod
    def of(cls, cohort: Cohort, targets: np.ndarray, reader: BrainReader) -> Samples:
        """Samples of a cohort; each window is passed through the encoder once."""
        labels = (cohort.column(name) for name in ("subject", "stim_file", "clip_id"))
        return cls(*reader.frozen(cohort.windows), *labels, targets)

    def rows(self, keep: np.ndarray) -> Samples:
        """The samples selected by `keep`, a mask or indices."""
        return replace(self, **{name: value[keep] for name, value in vars(self).items()})

    def of_subject(self, name: str) -> Samples:
        return self.rows(self.subjects == name)

    def without(self, name: str) -> Samples:
        return self.rows(self.subjects != name)
