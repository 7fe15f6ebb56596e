"""Whitening of features by the directions in which known people's features vary most.

    X (I - V diag(1 - sqrt(r / (e + r))) V')        e: variance along the directions V

On the phantom most of this variance is noise that positions share. It is the same for a new person,
whose few minutes do not suffice to estimate it. A direction of variance e gets e r / (e + r): at
most r.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from llm4brain.align.features import blocks

N_COMPONENTS = 200  # directions that are scaled; those of less variance stay as they are


@dataclass(frozen=True)
class Whitening:
    """A symmetric linear map of features.

    Attributes:
        axes: (n_components, positions), orthonormal rows.
        shrinkage: (n_components,) fraction by which each direction is scaled down.
    """

    axes: np.ndarray
    shrinkage: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray, noise: float) -> Whitening:
        """Fit to centred features (n, positions).

        Args:
            noise: r, in units of the total variance over `N_COMPONENTS`; 0 changes nothing.
        """
        if not noise:
            return cls(np.zeros((0, rows.shape[1]), np.float32), np.zeros(0, np.float32))
        _, values, axes = randomized_svd(rows, min(N_COMPONENTS, *rows.shape), random_state=0)
        variance = values.astype(np.float64) ** 2 / len(rows)
        total = float(np.einsum("np,np->", rows, rows, dtype=np.float64)) / len(rows)
        floor = max(noise * total / N_COMPONENTS, 1e-12)
        shrinkage = 1 - np.sqrt(floor / (variance + floor))
        return cls(axes.astype(np.float32), shrinkage.astype(np.float32))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Whiten rows (n, positions) in place, which may lie on disk, and return them.

        Weights are folded by `apply(weights.T).T`.
        """
        if len(self.axes) and len(rows):
            for part in blocks(rows.shape[1], len(rows)):
                rows[part] -= ((rows[part] @ self.axes.T) * self.shrinkage) @ self.axes
        return rows
