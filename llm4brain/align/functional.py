"""Functional alignment: a common response space for people who saw the same films.

    G = largest eigenvectors of mean_s X_s (X_s' X_s + r I)^-1 X_s'    (MAXVAR, Kettenring 1971)
    M_s = (X_s' X_s + r I)^-1 X_s' G

G (moments x n_components) is what people's responses have in common, and M_s maps person s into
that space. For a new person, the map is learned from films that others saw too: it starts at the
mean of the others' maps, which assumes anatomical correspondence, and a ridge fits the residual.
No captions are used; the method only needs to know which moments are the same across people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from llm4brain.errors import UserError


class SharedResponse(BaseEstimator):
    """A common space of people's responses to the same moments.

    Args:
        n_components: dimension of the space.
        penalty: r, in units of the mean eigenvalue of a person's kernel.
        new_penalty: ridge penalty for a new person, in the same units.

    Attributes:
        maps_: person -> (positions, n_components).
        moments_: (m,) labels; coordinates_: (m, n_components), coordinates of each moment.
        reliability_: (n_components,) agreement between people on each component, 0 to 1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> film = rng.normal(size=(80, 2))
        >>> people = [film @ rng.normal(size=(2, 20)) for _ in range(3)]
        >>> X, moments = np.concatenate(people), np.tile(np.arange(80), 3)
        >>> space = SharedResponse(n_components=2, penalty=0.01)
        >>> space = space.fit(X, subjects=np.repeat(["a", "b", "c"], 80), moments=moments)
        >>> new = film[:40] @ rng.normal(size=(2, 20))
        >>> way = space.way_of(new, moments[:40], mean=False)
        >>> bool(np.corrcoef((new @ way).T, space.coordinates_[:40].T)[0, 2] > 0.9)
        True
    """

    def __init__(
        self, n_components: int = 200, penalty: float = 3.0, new_penalty: float = 1.0
    ) -> None:
        self.n_components, self.penalty, self.new_penalty = n_components, penalty, new_penalty

    def fit(self, X, y=None, subjects=None, moments=None):
        """Fit the space to X (samples, positions), one row for each person and moment.

        Only moments that all people saw are used.

        Raises:
            UserError: there are fewer than three such moments.
        """
        subjects, moments = np.asarray(subjects), np.asarray(moments)
        names = np.unique(subjects)
        own = {
            s: dict(zip(moments[rows], rows, strict=True))
            for s, rows in ((s, np.flatnonzero(subjects == s)) for s in names)
        }
        common = sorted(set.intersection(*(set(rows) for rows in own.values())))
        if len(common) < 3:
            wrong = f"by all of {', '.join(map(str, names))} are {len(common)}: no space to share"
            raise UserError("clips seen", wrong, "leave functional and unlabelled out")
        self.moments_ = np.array(common)
        parts: dict[Any, tuple] = {}
        hat = np.zeros((len(common), len(common)))
        for s in names:
            rows = X[[own[s][m] for m in common]].astype(np.float32)
            rows = rows - rows.mean(0)
            values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
            ridge = self.penalty * values.mean()
            hat += (vectors * (values / (values + ridge))) @ vectors.T / len(names)
            parts[s] = rows, vectors, values + ridge
        k = min(self.n_components, len(common) - 1)
        agree, axes = np.linalg.eigh(hat)
        self.reliability_ = agree[::-1][:k].astype(np.float32)
        scores = axes[:, ::-1][:, :k] * np.sqrt(len(common))
        self.coordinates_ = scores.astype(np.float32)
        self.maps_ = {
            s: rows.T @ (vectors @ ((vectors.T @ scores) / values[:, None])).astype(np.float32)
            for s, (rows, vectors, values) in parts.items()
        }
        return self

    def way_of(self, X, moments, mean: bool = True) -> np.ndarray:
        """Map from a new person's positions into the space: (positions, n_components).

        Args:
            X: (samples, positions) of the person, one row for each moment.
            moments: (samples,) labels as in `fit`; moments unknown to `fit` are ignored.
            mean: start from the mean of the known people's maps.
        """
        place = {m: i for i, m in enumerate(self.moments_)}
        rows = [i for i, m in enumerate(moments) if m in place]
        known = np.mean(list(self.maps_.values()), axis=0) * mean
        if len(rows) < 2:
            return known
        own = np.asarray(X, dtype=np.float32)[rows]
        own = own - own.mean(0)
        aim = self.coordinates_[[place[moments[i]] for i in rows]]
        left = aim - aim.mean(0) - own @ known
        kernel = (own @ own.T).astype(np.float64)
        ridge = self.new_penalty * np.trace(kernel) / len(kernel)
        dual = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), left)
        return known + own.T @ dual.astype(np.float32)
