"""The agreement gate: positions that respond consistently to the same moment of a film.

    a_v = mean over pairs of showings of corr(x_v, x'_v)        (within people, and between)
    g_v = max(0, smooth(a)_v)^power

No caption, label or film content is used; clip names only tell which windows belong to the same
moment. The gate scales each position before the readout, which lowers the effective ridge penalty
where responses agree. It serves as domain adaptation: positions of the shared space count in
proportion to the agreement between people, and the gate also applies to new people.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

REACH = 2.5  # radius of the smoothing kernel, in standard deviations
BLOCK = 2000  # positions smoothed at once


def pair_agreement(samples: np.ndarray, who: np.ndarray, moments: np.ndarray) -> np.ndarray | None:
    """Mean correlation over moments between all pairs of series, for each position.

    Each series is z-scored over its moments. The sum of products of all pairs at a moment then
    follows from the sum and the sum of squares over series, so the cost is linear in the number of
    series.

    Args:
        samples: (n, positions), at most one row for each series and moment.
        who: (n,) label of the series (a person, or a showing).
        moments: (n,) label of the moment that was seen.

    Returns:
        (positions,), or None if fewer than two moments have two series.
    """
    names, place = np.unique(moments, return_inverse=True)
    total = np.zeros((len(names), samples.shape[1]), dtype=np.float32)
    squares, count = np.zeros_like(total), np.zeros(len(names))
    for label in np.unique(who):
        rows = np.flatnonzero(who == label)
        own = samples[rows] - samples[rows].mean(0)
        own /= own.std(0).clip(1e-6)
        np.add.at(total, place[rows], own)
        np.add.at(squares, place[rows], own**2)
        np.add.at(count, place[rows], 1)
    shared = count > 1
    if shared.sum() < 2:
        return None
    pairs = count[shared] * (count[shared] - 1)
    products = (total[shared] ** 2 - squares[shared]) / pairs[:, None]
    return products.mean(0, dtype=np.float64)


class AgreementGate(TransformerMixin, BaseEstimator):
    """Weight positions by how well responses to the same moment agree.

    Args:
        power: exponent of the agreement; 0 weights all positions equally.
        smooth_mm: standard deviation of the Gaussian that smooths the agreement; 0: none.

    Attributes:
        agreement_: (positions,), smoothed and clipped at 0; all ones if there was nothing to
            compare.
        rests_on_: source of the agreement: `showings`, `people`, both or neither.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> film = rng.normal(size=(1, 200, 1)) * [[[1.0, 0.0]]]  # the first position responds
        >>> X = (film + rng.normal(size=(3, 200, 2))).reshape(600, 2)
        >>> gate = AgreementGate(smooth_mm=0)
        >>> gate.fit(X, subjects=np.repeat([0, 1, 2], 200), moments=np.tile(np.arange(200), 3))
        AgreementGate(smooth_mm=0)
        >>> [round(float(a), 1) for a in gate.agreement_]
        [0.5, 0.1]
    """

    def __init__(self, power: float = 1.0, smooth_mm: float = 8.0) -> None:
        self.power, self.smooth_mm = power, smooth_mm

    def fit(self, X, y=None, subjects=None, moments=None, showings=None, coordinates=None):
        """Estimate the agreement.

        Args:
            X: (samples, positions), one row for each person, moment and showing.
            subjects: (samples,) person of each row; None: all rows are from one person.
            moments: (samples,) what was seen; rows of one moment are compared. None: all differ.
            showings: (samples,) which showing it was; None: every row is the first one.
            coordinates: (positions, 3) mm. Without them there is no smoothing; positions with NaN
                coordinates are not smoothed.
        """
        X = validate_data(self, X, dtype=np.float32)
        n = len(X)
        subjects = np.zeros(n, int) if subjects is None else np.asarray(subjects)
        moments = np.arange(n) if moments is None else np.asarray(moments)
        showings = np.ones(n, int) if showings is None else np.asarray(showings)
        within = [
            pair_agreement(X[own], showings[own], moments[own])
            for own in (np.flatnonzero(subjects == s) for s in np.unique(subjects))
        ]
        within = [a for a in within if a is not None]
        between = pair_agreement(*_averaged(X, subjects, moments))
        parts = {"showings": np.mean(within, axis=0) if within else None, "people": between}
        found = {name: part for name, part in parts.items() if part is not None}
        self.rests_on_ = tuple(found)
        raw = np.mean(list(found.values()), axis=0) if found else np.ones(X.shape[1])
        if found and coordinates is not None and self.smooth_mm:
            raw = smooth(raw[None], np.asarray(coordinates, dtype=float), self.smooth_mm)[0]
        self.agreement_ = np.clip(raw, 0, None).astype(np.float32)
        return self

    @property
    def weights_(self) -> np.ndarray:
        """(positions,) weights, with a mean square of 1."""
        return gate_weights(self.agreement_, self.power)

    def transform(self, X) -> np.ndarray:
        """(samples, positions), weighted."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return X * self.weights_.astype(X.dtype)


def gate_weights(agreement: np.ndarray, power: float) -> np.ndarray:
    """agreement^power, scaled to a mean square of 1; all ones if the agreement is 0 everywhere."""
    if power == 0 or not agreement.any():
        return np.ones(len(agreement), dtype=np.float32)
    weights = agreement.astype(np.float64) ** power
    return (weights / np.sqrt(np.mean(weights**2))).astype(np.float32)


def smooth(values: np.ndarray, coordinates: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian-weighted mean of `values` (n, positions) over neighbouring positions.

    Args:
        coordinates: (positions, 3) mm; positions with NaN keep their values.
        sigma: standard deviation, mm, above 0.
    """
    placed, out = _placed(coordinates), values.copy()
    own = values[:, placed].T
    for part, kernel in _kernels(coordinates[placed], sigma):
        out[:, placed[part]] = (kernel @ own).T
    return out


def smooth_weights(weights: np.ndarray, coordinates: np.ndarray, sigma: float) -> np.ndarray:
    """Weights (positions, n) for raw rows that equal `weights` applied to smoothed rows."""
    placed, out = _placed(coordinates), weights.copy()
    out[placed] = 0
    for part, kernel in _kernels(coordinates[placed], sigma):
        out[placed] += kernel.T @ weights[placed[part]]
    return out


def _placed(coordinates: np.ndarray) -> np.ndarray:
    """The positions whose coordinates are known."""
    return np.flatnonzero(np.isfinite(coordinates).all(axis=1))


def _kernels(places: np.ndarray, sigma: float) -> Iterator[tuple[slice, csr_matrix]]:
    """Smoothing of a block of places at a time, from all of them: rows that sum to 1."""
    tree = cKDTree(places)
    for start in range(0, len(places), BLOCK):
        part = slice(start, start + BLOCK)
        near = cKDTree(places[part]).sparse_distance_matrix(
            tree, REACH * sigma, output_type="coo_matrix"
        )
        near.data = np.exp(-0.5 * (near.data / sigma) ** 2)
        total = np.bincount(near.row, near.data, near.shape[0])
        near.data = (near.data / total[near.row]).astype(np.float32)
        yield part, near.tocsr()


def _averaged(X: np.ndarray, subjects: np.ndarray, moments: np.ndarray):
    """Mean over showings: rows, subjects and moments, one for each pair of person and moment."""
    keys = np.stack([np.unique(k, return_inverse=True)[1] for k in (subjects, moments)], axis=1)
    pairs, place = np.unique(keys, axis=0, return_inverse=True)
    out = np.zeros((len(pairs), X.shape[1]), dtype=np.float32)
    np.add.at(out, place, X)
    return out / np.bincount(place)[:, None], pairs[:, 0], pairs[:, 1]
