"""Closed-form readout from fMRI tokens to video tokens: ridge regression that couples subjects.

The map is linear over all token positions (attention pooling would discard position). The weights
of subject s are W_s = W_0 + dW_s; the penalties on W_0 and dW_s set how similar subjects are
(multi-task ridge, Evgeniou & Pontil 2004). In the kernel, this is a single number: the similarity
of two samples is k(x, x') within a subject and coupling * k(x, x') between subjects. A coupling of
1 is ridge pooled over anatomically aligned subjects, 0 is a separate ridge for each subject. The
coupling and the penalty are chosen on validation stimuli. Training starts from this solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from llm4brain.align.basis import Basis
from llm4brain.align.features import weighted

COUPLINGS = (0.0, 0.1, 0.25, 0.5, 1.0)
TEMPERING = (0.0, 0.5, 1.0)  # powers of the components' weights; 0 weights all equally
PENALTIES = tuple(np.geomspace(1e-2, 1e3, 11))


def coupled(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray, coupling: float):
    """Scale the entries of a kernel (n, m) between different subjects by `coupling`."""
    same = rows[:, None] == columns[None, :]
    return kernel * np.where(same, 1.0, coupling).astype(kernel.dtype)


def ridge_dual(kernel: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Dual coefficients (n, rank) of kernel ridge.

    The kernel is (n, n); the penalty is in units of its mean diagonal. Each call computes a
    Cholesky factor: for up to a dozen penalties, this costs less than one eigendecomposition.
    """
    regular = kernel.astype(np.float64)
    ridge = max(penalty * np.trace(regular) / len(regular), 1e-12)
    regular[np.diag_indices_from(regular)] += ridge
    return cho_solve(cho_factor(regular, lower=True, overwrite_a=True), targets)


def agreement(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over clips of the correlation of centred components, both (clips, rank)."""
    a = predicted / np.linalg.norm(predicted, axis=1, keepdims=True).clip(1e-12)
    b = truth / np.linalg.norm(truth, axis=1, keepdims=True).clip(1e-12)
    return float((a * b).sum(1).mean())


@dataclass(frozen=True)
class FittedReadout:
    """A fitted readout in dual form.

    Attributes:
        dual: (n, rank) coefficients of the train samples.
        out_of_fold: (n, rank) prediction for each train sample by a readout fitted without its
            stimulus. These are as noisy as test predictions, so the LLM is tuned on them.
        coupling, penalty: chosen on validation.
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
    kept: Callable[[tuple[float, float], Callable[[], float]], float] = lambda _, reach: reach(),
) -> FittedReadout:
    """Fit on train samples; choose coupling and penalty on validation samples.

    Args:
        kernel: (n, n) of train samples.
        subjects: (n,) subject of each sample.
        targets: (n, rank) components of each clip's video tokens.
        folds: (n,) cross-fitting fold, by stimulus; None leaves `out_of_fold` at zero.
        kernel_val: (m, n); subjects_val: (m,); targets_val: (m, rank).
        couplings, penalties: candidate values; with a single subject, the coupling is 1.
        kept: (coupling, penalty) and a function that computes their validation agreement -> that
            agreement; a resumed run looks it up.
    """
    couplings = couplings if len(np.unique(subjects)) > 1 else (1.0,)
    best = (-np.inf, 0.0, 0.0)
    for coupling in couplings:
        inner = coupled(kernel, subjects, subjects, coupling)
        across = coupled(kernel_val, subjects_val, subjects, coupling)
        for penalty in penalties:

            def reach(inner=inner, across=across, penalty=penalty) -> float:
                return agreement(across @ ridge_dual(inner, targets, penalty), targets_val)

            best = max(best, (kept((coupling, penalty), reach), coupling, penalty))
    validation, coupling, penalty = best

    whole = coupled(kernel, subjects, subjects, coupling)
    dual = ridge_dual(whole, targets, penalty)
    read = np.zeros_like(dual) if folds is None else out_of_fold(whole, targets, folds, penalty)
    return FittedReadout(dual, read, coupling, penalty, validation)


def out_of_fold(
    kernel: np.ndarray, targets: np.ndarray, folds: np.ndarray, penalty: float
) -> np.ndarray:
    """Predictions (n, rank) for each fold by a ridge fitted to the other folds."""
    read = np.zeros(targets.shape)
    for fold in np.unique(folds) if folds.any() else ():
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = ridge_dual(kernel[np.ix_(rest, rest)], targets[rest], penalty)
        read[out] = kernel[np.ix_(out, rest)] @ part
    return read


def signal_to_noise(read: np.ndarray, truth: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Weight of each predicted component: its slope on the truth over the error variance.

    Under independent Gaussian errors, the clip whose tokens match a prediction best is the one that
    maximises the sum of predicted x true x weight over components. Components that BOLD does not
    predict get a weight near zero.

    Args:
        read: (n, rank) out-of-fold predictions for train samples.
        truth: (n, rank).
        power: exponent of the weights; 0 weights all components equally.

    Returns:
        (rank,), scaled so that weighting preserves the overall norm of the predictions; ones if
        all weighted predictions are zero.
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
    """Primal weights: subject -> (features, rank), and `shared` for unknown subjects.

    W_s = sum_i c(s, s_i) x_i a_i with c = 1 within and `coupling` between subjects.
    """
    own = {s: weighted(features, subjects == s, dual) for s in np.unique(subjects)}
    total = sum(own.values())
    weights = {s: coupling * total + (1 - coupling) * w for s, w in own.items()}
    # Part shared by all subjects; with coupling 0 there is none, so use the mean over subjects.
    weights["shared"] = total / len(own) if coupling == 0 else coupling * total
    return weights


def written_size(read: np.ndarray, basis: Basis) -> float:
    """Mean norm of predicted components (n, rank) after weighting."""
    return float(np.linalg.norm(read * basis.weights, axis=1).mean())


def reciprocal_rank(read: np.ndarray, truth: np.ndarray) -> float:
    """Mean reciprocal rank of each clip's own tokens among all clips, by correlation.

    Args:
        read, truth: (clips, r) coordinates, see `llm4brain.align.basis.Space`.
    """
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (read, truth)]
    match = unit[0] @ unit[1].T
    return float((1 / (match >= np.diag(match)[:, None]).sum(1)).mean())


def folds_by_stimulus(stimuli: np.ndarray, folds: int) -> np.ndarray:
    """(n,) fold of each sample; a stimulus is never split, so neighbouring clips share a fold."""
    names = np.unique(stimuli)
    number = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    return np.array([number[s] for s in stimuli])
