"""The readout as a scikit-learn estimator, usable on any voxels or parcels."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from llm4brain.align.readout import (
    COUPLINGS,
    PENALTIES,
    agreement,
    coupled,
    folds_by_stimulus,
    out_of_fold,
    primal,
    ridge_dual,
)


class Readout(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression across people (multi-task ridge, Evgeniou & Pontil 2004).

    The weights of person s are W_s = W_0 + dW_s. As a kernel ridge, the similarity of two samples
    is x x' within a person and coupling * x x' between people: 1 pools all people, 0 fits each
    person separately.

        min_W  sum_i ||y_i - x_i W_s(i)||^2 + penalty * ||W||^2_coupled

    Args:
        coupling: similarity between people, 0 to 1; None: chosen by cross-validation over stimuli.
        penalty: in units of the kernel's mean diagonal; None: chosen by cross-validation.
        n_folds: number of cross-validation folds; each holds whole stimuli.

    Attributes:
        coef_: person -> (features, targets); "shared" is used for people who were not in `fit`.
        coupling_, penalty_: as given or chosen.
        out_of_fold_: (n, targets) prediction for each sample by a readout fitted without its
            fold, and so without its stimulus.
        mean_, target_mean_: means of X and y.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> Y = X @ rng.normal(size=(8, 2))
        >>> subjects, stimuli = np.repeat(["01", "02"], 30), np.tile(np.repeat([0, 1, 2], 10), 2)
        >>> readout = Readout().fit(X, Y, subjects=subjects, stimuli=stimuli)
        >>> bool(readout.score(X, Y) > 0.99), readout.predict(X, subjects).shape
        (True, (60, 2))
    """

    def __init__(
        self, coupling: float | None = None, penalty: float | None = None, n_folds: int = 4
    ) -> None:
        self.coupling, self.penalty, self.n_folds = coupling, penalty, n_folds

    def fit(self, X, y, subjects=None, stimuli=None):
        """Fit the readout.

        Args:
            X: (n, features).
            y: (n,) or (n, targets).
            subjects: (n,) person of each sample; None: all samples are from one person.
            stimuli: (n,) stimulus of each sample. Samples of one stimulus are always in the same
                fold. None: folds are blocks of consecutive samples.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        n = len(X)
        who = np.zeros(n, dtype=int) if subjects is None else np.asarray(subjects)
        if stimuli is None:
            stimuli = np.arange(n) * self.n_folds // n
        folds = folds_by_stimulus(np.asarray(stimuli), self.n_folds)
        self.mean_, self.target_mean_ = X.mean(0), y.mean(0)
        rows, targets = X - self.mean_, (y - self.target_mean_).reshape(n, -1)
        kernel = rows @ rows.T
        best = (-np.inf, 0.0, 0.0)
        for coupling in COUPLINGS if self.coupling is None else (self.coupling,):
            inner = coupled(kernel, who, who, coupling)
            for penalty in PENALTIES if self.penalty is None else (self.penalty,):
                read = out_of_fold(inner, targets, folds, penalty)
                best = max(best, (agreement(read, targets), coupling, penalty))
            if len(np.unique(who)) < 2:
                break
        _, self.coupling_, self.penalty_ = best
        inner = coupled(kernel, who, who, self.coupling_)
        self.out_of_fold_ = out_of_fold(inner, targets, folds, self.penalty_) + self.target_mean_
        dual = ridge_dual(inner, targets, self.penalty_)
        self.coef_ = primal(dual, rows, who, self.coupling_)
        self._flat = y.ndim == 1
        if subjects is None:
            self.coef_["shared"] = self.coef_[0]
        return self

    def predict(self, X, subjects=None) -> np.ndarray:
        """(n, targets), or (n,) if y was one-dimensional.

        Args:
            X: (n, features).
            subjects: (n,) labels. The shared weights are used for people who were not in `fit`,
                and for everyone if None.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False) - self.mean_
        who = np.full(len(X), "shared") if subjects is None else np.asarray(subjects)
        out = np.empty((len(X), self.coef_["shared"].shape[1]))
        for name in np.unique(who):
            rows = who == name
            out[rows] = X[rows] @ self.coef_.get(name, self.coef_["shared"])
        out = out.reshape(len(X)) if self._flat else out
        return out + self.target_mean_
