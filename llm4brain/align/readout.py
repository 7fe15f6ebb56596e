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
from scipy.linalg import cho_factor, cho_solve

from llm4brain.align.features import weighted

COUPLINGS = (0.0, 0.1, 0.25, 0.5, 1.0)
TEMPERING = (0.0, 0.5, 1.0)  # powers of the components' weights; 0 weighs all alike
PENALTIES = tuple(np.geomspace(1e-2, 1e3, 11))


@dataclass(frozen=True)
class Basis:
    """Principal components of the video tokens of train clips: what is read, and how it is weighed.

    Attributes:
        mean: (K * d,) of the train clips.
        axes: (rank, K * d), orthonormal rows.
        scale: (rank,) standard deviation of each component over train clips.
        weights: (rank,) of a component that was read, as it is written back into tokens.
    """

    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, tokens: np.ndarray, rank: int) -> Basis:
        """tokens: (clips, K * d) of train clips alone."""
        mean = tokens.mean(0)
        _, values, axes = np.linalg.svd(tokens - mean, full_matrices=False)
        rank = min(rank, len(values), len(tokens) - 1)
        # The sign of a singular vector is arbitrary; fix it, so that equal data give equal bytes.
        signs = np.sign(axes[np.arange(rank), np.abs(axes[:rank]).argmax(1)])
        scale = values[:rank] / np.sqrt(len(tokens) - 1)
        ones = np.ones(rank, dtype=np.float32)
        return cls(mean, (axes[:rank] * signs[:, None]).astype(np.float32), scale, ones)

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """(clips, K * d) -> (clips, rank)."""
        return (tokens - self.mean) @ self.axes.T

    def write(self, components: np.ndarray) -> np.ndarray:
        """Readings (clips, rank) -> (clips, K * d)."""
        return (components * self.weights) @ self.axes + self.mean


def coupled(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray, coupling: float):
    """Weigh a kernel (n, m) between samples of different subjects by `coupling`."""
    same = rows[:, None] == columns[None, :]
    return kernel * np.where(same, 1.0, coupling).astype(kernel.dtype)


def ridge_dual(kernel: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Dual coefficients (n, rank) of ridge with `penalty` x the mean diagonal of a kernel (n, n).

    A Cholesky factor for each penalty: up to a dozen of them cost less than one eigendecomposition.
    """
    regular = kernel.astype(np.float64)
    ridge = max(penalty * np.trace(regular) / len(regular), 1e-12)
    regular[np.diag_indices_from(regular)] += ridge
    return cho_solve(cho_factor(regular, lower=True, overwrite_a=True), targets)


def agreement(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over clips of the correlation of centred components, (clips, rank) each."""
    a = predicted / np.linalg.norm(predicted, axis=1, keepdims=True).clip(1e-12)
    b = truth / np.linalg.norm(truth, axis=1, keepdims=True).clip(1e-12)
    return float((a * b).sum(1).mean())


@dataclass(frozen=True)
class FittedReadout:
    """A fitted readout in its dual form.

    Attributes:
        dual: (n, rank) coefficients of the train samples.
        out_of_fold: (n, rank) what each train sample is read as by a readout fitted without
            its stimulus: as noisy as a test reading, which is what the LLM must learn on.
        coupling, penalty: as chosen on validation.
        validation: agreement on validation stimuli.
    """

    dual: np.ndarray
    out_of_fold: np.ndarray
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
    penalties: Sequence[float] = PENALTIES,
) -> FittedReadout:
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
        inner = coupled(kernel, subjects, subjects, coupling)
        across = coupled(kernel_val, subjects_val, subjects, coupling)
        for penalty in penalties:
            read = across @ ridge_dual(inner, targets, penalty)
            best = max(best, (agreement(read, targets_val), coupling, penalty))
    validation, coupling, penalty = best

    whole = coupled(kernel, subjects, subjects, coupling)
    dual = ridge_dual(whole, targets, penalty)
    read = np.zeros_like(dual) if folds is None else out_of_fold(whole, targets, folds, penalty)
    return FittedReadout(dual, read, coupling, penalty, validation)


def out_of_fold(
    kernel: np.ndarray, targets: np.ndarray, folds: np.ndarray, penalty: float
) -> np.ndarray:
    """Readings (n, rank) of each fold by a ridge on the other folds."""
    read = np.zeros(targets.shape)
    for fold in np.unique(folds) if folds.any() else ():
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = ridge_dual(kernel[np.ix_(rest, rest)], targets[rest], penalty)
        read[out] = kernel[np.ix_(out, rest)] @ part
    return read


def signal_to_noise(read: np.ndarray, truth: np.ndarray, power: float = 1.0) -> np.ndarray:
    """How a component that was read should weigh: its slope on the truth over its error's variance.

    Under independent Gaussian errors the clip whose tokens fit a reading best is the one with the
    largest sum of read x true x this. Components that no brain tells get next to nothing.

    Args:
        read: (n, rank) out-of-fold readings of train samples.
        truth: (n, rank).
        power: of the weights; 0 weighs all alike.

    Returns:
        (rank,), scaled so that weighed readings are as large as they were; ones where nothing was
        read, and nothing tells.
    """
    slope = (read * truth).sum(0) / np.square(truth).sum(0).clip(1e-12)
    error = np.square(read - slope * truth).mean(0)
    weights = np.clip(slope, 0, None) / error.clip(1e-6 * max(error.max(), 1e-12))
    weights = weights**power
    weighed = np.linalg.norm(read * weights)
    if not weighed:
        return np.ones(len(weights), dtype=np.float32)
    return (weights * np.linalg.norm(read) / weighed).astype(np.float32)


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


def written_size(read: np.ndarray, basis: Basis) -> float:
    """Mean norm of readings (n, rank) as they are written into tokens."""
    return float(np.linalg.norm(read * basis.weights, axis=1).mean())


def reciprocal_rank(read: np.ndarray, truth: np.ndarray) -> float:
    """Mean of 1 / rank of each clip's own tokens among those of all, by correlation.

    Args:
        read, truth: (clips, D), centred on train.
    """
    unit = [x - x.mean(1, keepdims=True) for x in (read, truth)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in unit]
    match = unit[0] @ unit[1].T
    return float((1 / (match >= np.diag(match)[:, None]).sum(1)).mean())


def folds_by_stimulus(stimuli: np.ndarray, folds: int) -> np.ndarray:
    """(n,) fold of each sample; whole stimuli, so neighbours never lie on both sides."""
    names = np.unique(stimuli)
    number = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    return np.array([number[s] for s in stimuli])
