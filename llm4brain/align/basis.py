"""Principal components of the video tokens, and the space in which readings are compared.

A clip has D = K * d numbers in its tokens, for BLIP-2 two frames of 32 x 2,560. The tokens of all
clips may be larger than memory. They are read from a memory-mapped array in blocks of columns, and
all that follows works on components (clips, rank).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llm4brain.errors import UserError

BLOCK = 2**27  # bytes of a block of columns in float64
SMALLEST = 1e-12  # variance of a component, relative to the first, below which it is rounding


def column_blocks(
    tokens: np.ndarray, rows: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Tokens (clips, ...) of some rows, block by block: columns, and (rows, width) float64."""
    flat = tokens.reshape(len(tokens), -1)
    rows = np.arange(len(flat)) if rows is None else rows
    width = max(1, BLOCK // (8 * max(1, len(rows))))
    for start in range(0, flat.shape[1], width):
        part = slice(start, min(start + width, flat.shape[1]))
        yield part, flat[rows, part].astype(np.float64)


@dataclass(frozen=True)
class Basis:
    """Principal components of the video tokens of train clips, and the weight of each component.

    Attributes:
        mean: (K * d,) over the train clips.
        axes: (rank, K * d), orthonormal rows.
        scale: (rank,) standard deviation of each component over train clips.
        weights: (rank,) applied to predicted components when they are mapped back to tokens.
    """

    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, tokens: np.ndarray, rank: int, rows: np.ndarray | None = None) -> Basis:
        """Fit to the rows of train clips only, by the Gram matrix of the clips.

        Args:
            tokens: (clips, ...), may be memory-mapped.
            rank: number of components; fewer if the clips have fewer.
            rows: of train clips; by default all.

        Raises:
            UserError: all train clips have the same tokens, or there is one.
        """
        kind = tokens.dtype if tokens.dtype.kind == "f" else np.dtype(np.float32)
        size = int(np.prod(tokens.shape[1:]))
        mean, gram = np.empty(size), 0.0
        for part, block in column_blocks(tokens, rows):
            mean[part] = block.mean(0)
            block -= mean[part]
            gram = gram + block @ block.T
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1], vectors[:, ::-1]
        rank = min(rank, len(values) - 1, int((values > SMALLEST * values[0]).sum()))
        if not rank:
            wrong = "hold equal video tokens, so there is nothing to predict"
            raise UserError("train clips", wrong, "add train clips, or use another video-LLM")
        values, turn = np.sqrt(values[:rank]), vectors[:, :rank] / np.sqrt(values[:rank])
        axes = np.empty((rank, size), dtype=np.float32)
        for part, block in column_blocks(tokens, rows):
            axes[:, part] = turn.T @ (block - mean[part])
        for axis in axes:  # the sign of an eigenvector is arbitrary; fix it for reproducibility
            axis *= np.sign(axis[np.abs(axis).argmax()])
        scale = values / np.sqrt(len(gram) - 1)
        return cls(mean.astype(kind), axes, scale, np.ones(rank, dtype=np.float32))

    def read(self, tokens: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """(clips, K * d) or (clips, K, d), of which `rows` -> (rows, rank) float32."""
        rows, found = np.arange(len(tokens)) if rows is None else rows, 0.0
        for part, block in column_blocks(tokens, rows):
            block -= self.mean[part]
            found = found + block @ self.axes[:, part].T.astype(np.float64)
        return np.float32(found)

    def write(self, components: np.ndarray) -> np.ndarray:
        """Predicted components (clips, rank) -> (clips, K * d)."""
        return (components * self.weights) @ self.axes + self.mean


@dataclass(frozen=True)
class Space:
    """The space in which readings and clips are correlated, as coordinates on orthonormal axes.

    A correlation over D subtracts from each row its own mean. Rows without their mean lie in a
    subspace, and the readings of a basis in a part of it that has as many dimensions as the basis
    has axes. On orthonormal axes of that part, a correlation is a cosine, and the tokens themselves
    are needed only once, for the true clips.

    Attributes:
        centre: (D,) that is subtracted first, the mean over train clips.
        axes: (rank, D) of the basis.
        sums: (rank,) sum of each axis over D.
        turn: (rank, r) maps components (without `Basis.weights`) to coordinates.
        back: (rank, r) maps products of row-centred tokens and axes to coordinates.
    """

    centre: np.ndarray
    axes: np.ndarray
    sums: np.ndarray
    turn: np.ndarray
    back: np.ndarray

    @classmethod
    def of(cls, basis: Basis) -> Space:
        """The space of what a basis writes."""
        gram, sums = 0.0, 0.0
        for _, block in column_blocks(basis.axes):
            gram, sums = gram + block @ block.T, sums + block.sum(1)
        values, vectors = np.linalg.eigh(gram - np.outer(sums, sums) / basis.axes.shape[1])
        kept = values > 1e-9 * values[-1]  # an axis of equal numbers has no direction here
        root, vectors = np.sqrt(values[kept]), vectors[:, kept]
        return cls(basis.mean, basis.axes, sums, vectors * root, vectors / root)

    def coordinates(self, components: np.ndarray) -> np.ndarray:
        """Components that were multiplied by the basis's weights, (n, rank) -> (n, r) float32."""
        return np.float32(components @ self.turn)

    def truth(
        self, tokens: np.ndarray, rows: np.ndarray | None = None, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of clips, and the norms of all their row-centred tokens.

        Args:
            tokens: (clips, ...), may be memory-mapped.
            rows: of the wanted clips; by default all.
            whole: add coordinates for what lies outside the axes, one more for each clip, so that
                clips can be correlated with each other.

        Returns:
            (rows, r) float32, or (rows, r + rows) if `whole`; and (rows,) float32.
        """
        products, sums, squares, gram = 0.0, 0.0, 0.0, 0.0
        for part, block in column_blocks(tokens, rows):
            block -= self.centre[part]
            products = products + block @ self.axes[:, part].T.astype(np.float64)
            sums, squares = sums + block.sum(1), squares + np.square(block).sum(1)
            if whole:
                gram = gram + block @ block.T
        means = sums / self.axes.shape[1]
        found = (products - np.outer(means, self.sums)) @ self.back
        norms = np.sqrt((squares - sums * means).clip(0))
        if whole:
            values, vectors = np.linalg.eigh(gram - np.outer(sums, means) - found @ found.T)
            found = np.hstack([found, vectors * np.sqrt(values.clip(0))])
        return np.float32(found), np.float32(norms)
