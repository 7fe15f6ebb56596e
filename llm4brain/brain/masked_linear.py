"""Closed-form linear masked model: predict hidden BOLD from visible BOLD.

Volumes are modelled as Gaussian, with the largest components of their covariance plus noise,

    Sigma = L L' + s I,     L = V sqrt(W): (positions, n_components)

so any set h of hidden positions has a best linear prediction from the visible positions v,

    x^_h = L_h (L_v' L_v + s I)^-1 L_v' x_v

which requires solving a linear system of size n_components. SC-MBM starts from this prediction and
learns the residual (`brain/sc_mbm.py`). `MaskedLinearModel` is the same model as a scikit-learn
estimator, for any array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

OVERSAMPLING = 20  # oversampling of the randomised decomposition (Halko et al. 2011)
FLOATS = (np.float64, np.float32)
PASSES = 4  # power iterations: each pass over the data improves the components


def covariance_components(
    batches: Callable[[], Iterable[np.ndarray]], n_components: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Largest components of the covariance, streamed: memory is positions x n_components.

    Args:
        batches: called once per pass; returns an iterable of volumes (n, positions).
        n_components: maximum number; fewer if the data have fewer.

    Returns:
        eigenvalues (k,), descending; eigenvectors (positions, k); total variance; number of
            volumes.
    """
    first = next(iter(batches()))
    positions = first.shape[1]
    width = min(n_components + OVERSAMPLING, positions)
    basis = np.random.default_rng(seed).standard_normal((positions, width)).astype(np.float32)
    for _ in range(PASSES):
        product, total, volumes = np.zeros_like(basis), 0.0, 0
        for batch in batches():
            product += batch.T @ (batch @ basis)
            total += float(np.square(batch, dtype=np.float64).sum())
            volumes += len(batch)
        basis = np.linalg.qr(product)[0]
    inner = np.zeros((width, width))
    for batch in batches():
        scores = (batch @ basis).astype(np.float64)
        inner += scores.T @ scores
    values, vectors = np.linalg.eigh(inner / volumes)
    k = min(n_components, positions - 1, volumes - 1)
    order = np.argsort(values)[::-1][:k]
    components = basis @ vectors[:, order].astype(np.float32)
    # the sign of an eigenvector is arbitrary; fix it for reproducibility
    largest = np.abs(components).argmax(0)
    components *= np.sign(components[largest, np.arange(k)])
    return values[order], components, total / volumes, volumes


def loadings(
    volumes: np.ndarray | Callable[[], Iterable[np.ndarray]], n_components: int, seed: int = 0
) -> np.ndarray:
    """L (positions, k): components of the volumes (n, positions), scaled by their SD.

    Args:
        volumes: one array, or a callable as in `covariance_components`.
    """
    batches = volumes if callable(volumes) else lambda: [volumes]
    values, components, _, _ = covariance_components(batches, n_components, seed)
    return components * np.sqrt(values.clip(0)).astype(np.float32)


def mix(group: np.ndarray, own: np.ndarray, share: float) -> np.ndarray:
    """L of the covariance (1 - share) C + share C_own, with at most `positions` columns."""
    both = np.concatenate([math.sqrt(1 - share) * group, math.sqrt(share) * own], axis=1)
    if both.shape[1] <= len(both):
        return both
    values, vectors = np.linalg.eigh(both @ both.T)  # the same covariance in fewer columns
    return vectors * np.sqrt(values.clip(0))


def from_visible(loading: Tensor, noise: Tensor, visible: Tensor) -> Tensor:
    """Matrix that maps visible positions to component scores.

    Args:
        loading: L, (positions, k).
        noise: s, a scalar.
        visible: (positions,) bool.

    Returns:
        M (k, positions), zero for hidden positions: x^_h = L_h M x.
    """
    seen = loading * visible[:, None]
    inner = seen.T @ seen + noise * torch.eye(loading.shape[1], device=loading.device)
    return torch.linalg.solve(inner, seen.T)


class MaskedLinearModel(TransformerMixin, BaseEstimator):
    """Predict each position from the others, and subtract the prediction.

    Args:
        n_components: number of components of the volumes' covariance; fewer if the data have fewer.
        noise: s, the noise variance of each position; z-scored BOLD has a variance of 1.
        alpha: fraction of the prediction that `transform` subtracts, 0 to 1.
        own_share: weight of a person's own covariance, 0 to 1, if `predict` is given unlabelled
            volumes of that person.
        n_turns: positions are divided into this many groups; each group is predicted from all
            the others. Positions of one patch are in the same group.
        random_state: seed of the randomised decomposition.

    Attributes:
        loadings_: L, (positions, k).
        turn_: (positions,) group of each position.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> common, single = rng.normal(size=(500, 1)), rng.normal(size=(500, 30))
        >>> model = MaskedLinearModel(n_components=1).fit(common + single)
        >>> round(model.score(common + single), 1)
        0.5
        >>> bool(model.transform(common + single).std() < (common + single).std())
        True

    Rationale: the error of predicting each variable from all others is, up to a scale for each
    variable, the input of the optimal linear decoder of a Gaussian pattern, Sigma^-1 x.
    """

    def __init__(
        self,
        n_components: int = 200,
        noise: float = 1.0,
        alpha: float = 0.8,
        own_share: float = 0.0,
        n_turns: int = 8,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.alpha = alpha
        self.own_share = own_share
        self.n_turns = n_turns
        self.random_state = random_state

    def fit(self, X, y=None, patches=None):
        """Estimate the covariance.

        Args:
            X: (volumes, positions), with mean zero over volumes.
            y: ignored.
            patches: (positions,) labels; positions with the same label are hidden together. None:
                each position is its own patch.
        """
        X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        self.loadings_ = loadings(X, self.n_components, self.random_state).astype(X.dtype)
        patches = np.arange(X.shape[1]) if patches is None else np.asarray(patches)
        self.turn_ = np.unique(patches, return_inverse=True)[1] % self.n_turns
        return self

    def predict(self, X, own=None) -> np.ndarray:
        """x^ of every position, each predicted while hidden: (volumes, positions).

        Args:
            X: (volumes, positions).
            own: (n, positions) additional unlabelled volumes of the same person.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        loading = self.loadings_
        if own is not None and self.own_share > 0:
            own = validate_data(self, own, dtype=FLOATS, reset=False, ensure_min_samples=2)
            personal = loadings(own, self.n_components, self.random_state)
            loading = mix(loading, personal, self.own_share)
        out = np.zeros_like(X)
        held, noise = torch.from_numpy(loading), torch.tensor(float(self.noise))
        for turn in np.unique(self.turn_):
            hidden = self.turn_ == turn
            reads = from_visible(held, noise, torch.from_numpy(~hidden)).numpy()
            out[:, hidden] = (X @ reads.T) @ loading[hidden].T
        return out

    def transform(self, X, own=None) -> np.ndarray:
        """The surprise, X - alpha x^."""
        return np.asarray(X) - self.alpha * self.predict(X, own)

    def score(self, X, y=None, own=None) -> float:
        """R2 of the prediction: the fraction of the volumes' variance that it explains."""
        return explained(np.asarray(X), self.predict(X, own))


def explained(truth: np.ndarray, predicted: np.ndarray) -> float:
    """R2 relative to zero, the mean of z-scored BOLD."""
    left = np.square(truth - predicted, dtype=np.float64).sum()
    return float(1 - left / np.square(truth, dtype=np.float64).sum())
