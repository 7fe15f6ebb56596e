"""From fMRI tokens to video tokens in closed form: ridge that couples subjects.

Linear over all token positions (attention pooling throws position away). Subject s reads with
W_s = W_0 + dW_s; the penalties on W_0 and dW_s set how alike subjects are (multi-task ridge,
Evgeniou & Pontil 2004), which in the kernel is one number: the similarity of two samples is
k(x, x') within a subject and coupling * k(x, x') between subjects. Coupling 1 is ridge pooled
by anatomy, 0 is ridge on each subject alone; validation stimuli choose, as they choose the
penalty. Training never starts below ridge because ridge is where it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm4brain.align.features import weighted

COUPLINGS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
PENALTIES = tuple(np.geomspace(1e-3, 1e3, 19))


@dataclass(frozen=True)
class Basis:
    """Principal components of the video tokens of train clips: what is read.

    Attributes:
        mean: (K * d,) of the train clips.
        axes: (rank, K * d), orthonormal rows.
        scale: (rank,) standard deviation of each component over train clips.
    """

    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, tokens: np.ndarray, rank: int) -> Basis:
        """tokens: (clips, K * d) of train clips alone."""
        mean = tokens.mean(0)
        _, values, axes = np.linalg.svd(tokens - mean, full_matrices=False)
        rank = min(rank, len(values), len(tokens) - 1)
        # The sign of a singular vector is arbitrary; fix it, so that equal data give equal bytes.
        signs = np.sign(axes[np.arange(rank), np.abs(axes[:rank]).argmax(1)])
        scale = values[:rank] / np.sqrt(len(tokens) - 1)
        return cls(mean, (axes[:rank] * signs[:, None]).astype(np.float32), scale)

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """(clips, K * d) -> (clips, rank)."""
        return (tokens - self.mean) @ self.axes.T

    def write(self, components: np.ndarray) -> np.ndarray:
        """(clips, rank) -> (clips, K * d)."""
        return components @ self.axes + self.mean


def coupled(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray, coupling: float):
    """Weigh a kernel (n, m) between samples of different subjects by `coupling`."""
    same = rows[:, None] == columns[None, :]
    return kernel * np.where(same, 1.0, coupling).astype(kernel.dtype)


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of a train kernel: every penalty then costs a matrix product."""

    values: np.ndarray
    vectors: np.ndarray
    size: float

    @classmethod
    def of(cls, kernel: np.ndarray) -> Spectrum:
        values, vectors = np.linalg.eigh(kernel.astype(np.float64))
        return cls(values, vectors, float(np.trace(kernel)) / len(kernel))

    def dual(self, targets: np.ndarray, penalty: float) -> np.ndarray:
        """Dual coefficients (n, rank) of ridge with `penalty` x the mean diagonal."""
        shrunk = self.vectors.T @ targets / (self.values + penalty * self.size)[:, None]
        return self.vectors @ shrunk


def agreement(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over clips of the correlation of centred components, (clips, rank) each."""
    a = predicted / np.linalg.norm(predicted, axis=1, keepdims=True).clip(1e-12)
    b = truth / np.linalg.norm(truth, axis=1, keepdims=True).clip(1e-12)
    return float((a * b).sum(1).mean())


@dataclass(frozen=True)
class Readout:
    """A fitted readout in its dual form.

    Attributes:
        dual: (n, rank) coefficients of the train samples.
        out_of_fold: (n, rank) what each train sample is read as by a readout fitted without
            its stimulus: as noisy as a test reading, which is what the LLM must learn on.
        fold_dual: (folds, n, rank); zero rows for a fold's own samples.
        coupling, penalty: as chosen on validation.
        validation: agreement on validation stimuli.
    """

    dual: np.ndarray
    out_of_fold: np.ndarray
    fold_dual: np.ndarray
    coupling: float
    penalty: float
    validation: float


def fit_readout(
    kernel: np.ndarray,
    subjects: np.ndarray,
    targets: np.ndarray,
    folds: np.ndarray | None,
    kernel_val: np.ndarray,
    subjects_val: np.ndarray,
    targets_val: np.ndarray,
    couplings: Sequence[float] = COUPLINGS,
) -> Readout:
    """Fit on train samples, choose coupling and penalty on validation samples.

    Args:
        kernel: (n, n) of train samples.
        subjects: (n,) subject of each.
        targets: (n, rank) components of the clip's video tokens.
        folds: (n,) cross-fitting fold, by stimulus; None leaves `out_of_fold` at zero.
        kernel_val: (m, n); subjects_val: (m,); targets_val: (m, rank).
        couplings: to choose from; one subject has none.
    """
    couplings = couplings if len(np.unique(subjects)) > 1 else (1.0,)
    best = (-np.inf, 0.0, 0.0)
    for coupling in couplings:
        spectrum = Spectrum.of(coupled(kernel, subjects, subjects, coupling))
        across = coupled(kernel_val, subjects_val, subjects, coupling)
        rotated = across @ spectrum.vectors
        aimed = spectrum.vectors.T @ targets
        for penalty in PENALTIES:
            read = rotated @ (aimed / (spectrum.values + penalty * spectrum.size)[:, None])
            best = max(best, (agreement(read, targets_val), coupling, penalty))
    validation, coupling, penalty = best

    whole = coupled(kernel, subjects, subjects, coupling)
    dual = Spectrum.of(whole).dual(targets, penalty)
    out_of_fold = np.zeros_like(dual)
    number = 0 if folds is None else folds.max() + 1
    fold_dual = np.zeros((number, *dual.shape))
    for fold in range(number):
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = Spectrum.of(whole[np.ix_(rest, rest)]).dual(targets[rest], penalty)
        fold_dual[fold, rest] = part
        out_of_fold[out] = whole[np.ix_(out, rest)] @ part
    return Readout(dual, out_of_fold, fold_dual, coupling, penalty, validation)


def primal(dual: np.ndarray, features: np.ndarray, subjects: np.ndarray, coupling: float):
    """Weights by subject: name -> (features, rank), and `shared` for subjects never seen.

    W_s = sum_i c(s, s_i) x_i a_i with c = 1 within and `coupling` between subjects.
    """
    own = {s: weighted(features, subjects == s, dual) for s in np.unique(subjects)}
    total = sum(own.values())
    weights = {s: coupling * total + (1 - coupling) * w for s, w in own.items()}
    # A stranger is read by the part that subjects share, as if half-way own.
    weights["shared"] = total / len(own) if coupling == 0 else coupling * total
    return weights


def folds_by_stimulus(stimuli: np.ndarray, folds: int) -> np.ndarray:
    """(n,) fold of each sample; whole stimuli, so neighbours never lie on both sides."""
    names = np.unique(stimuli)
    number = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    return np.array([number[s] for s in stimuli])
