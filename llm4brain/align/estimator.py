"""The readout as an estimator: arrays in, arrays out, for anybody's voxels or parcels."""

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

    Person s is read with W_s = W_0 + dW_s. As a kernel ridge, the similarity of two samples is
    x x' within a person and coupling * x x' between people: 1 pools everybody, 0 fits each alone.

        min_W  sum_i ||y_i - x_i W_s(i)||^2 + penalty * ||W||^2_coupled

    Args:
        coupling: between people, 0 to 1; None: cross-validation over stimuli chooses.
        penalty: in units of the kernel's mean diagonal; None: cross-validation chooses.
        n_folds: of the cross-validation; whole stimuli.

    Attributes:
        coef_: person -> (features, targets); "shared" reads people who were not in `fit`.
        coupling_, penalty_: as given or chosen.
        out_of_fold_: (n, targets) what each sample is read as by a readout fitted without its
            stimulus.
        mean_, target_mean_: of the samples.

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
        """Solve the readout.

        Args:
            X: (n, features).
            y: (n,) or (n, targets).
            subjects: (n,) label of each sample's person; None: one person.
            stimuli: (n,) label of each sample's stimulus: samples of one stimulus are never on both
                sides of a fold. None: folds are consecutive samples.
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
        """(n, targets), or (n,) as y was.

        Args:
            X: (n, features).
            subjects: (n,) labels; people who were not in `fit`, and None, are read by what is
                shared.
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
