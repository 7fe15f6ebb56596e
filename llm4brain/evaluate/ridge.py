"""Ridge regression from BOLD to video tokens, with the input features and penalty of its choice.

It is fitted on train clips only; the input features and the penalty are chosen on validation clips.
The gate and the surprise, which ridge may use, were learned from train BOLD only.

The targets are components of the tokens. Ridge treats each target alone, so with as many components
as train clips less one this is ridge on the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.preprocessing import StandardScaler

from llm4brain.align.aligner import ALPHAS, POWERS
from llm4brain.align.features import blocks
from llm4brain.align.gate import gate_weights
from llm4brain.errors import UserError

# from almost no shrinkage to almost only the mean, relative to the kernel's mean eigenvalue
PENALTIES = np.logspace(-4, 4, 33)


@dataclass(frozen=True)
class Seen:
    """BOLD responses of a subject, one row per clip.

    Attributes:
        windows: shape (n, volumes, positions).
        predictable: shape (n, positions), the prediction of the mean volume by masked
            modelling.
    """

    windows: np.ndarray
    predictable: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """(n, positions) mean volumes."""
        return self.windows.mean(axis=1, dtype=np.float32)


@dataclass(frozen=True)
class Form:
    """Which features of a window ridge uses.

    Attributes:
        volumes: all volumes of the window, instead of their mean x.
        scale: equal variance for all positions, before the gate.
        alpha: use the surprise x - alpha x^, where x^ is the prediction by masked modelling.
        power: positions are multiplied by the agreement gate to this power.
    """

    volumes: bool = False
    scale: bool = False
    alpha: float = 0.0
    power: float = 0.0

    def of(self, seen: Seen) -> np.ndarray:
        """(n, features), before scale and gate."""
        if self.volumes:
            return _flat(seen.windows)
        return seen.mean - self.alpha * seen.predictable if self.alpha else seen.mean

    def gate(self, agreement: np.ndarray) -> np.ndarray | None:
        """(features,) weights; None if all have equal weight."""
        return gate_weights(agreement, self.power) if self.power else None

    @property
    def said(self) -> str:
        """Description for logs.

        >>> Form(alpha=0.7, power=1.0).said
        'the mean volume, gate at power 1, surprise at alpha 0.7'
        """
        parts = ["all volumes" if self.volumes else "the mean volume"]
        parts += ["equal variance"] * self.scale
        parts.append(f"gate at power {self.power:g}" if self.power else "no gate")
        parts.append(f"surprise at alpha {self.alpha:g}" if self.alpha else "no surprise")
        return ", ".join(parts)


SCALES = (False, True)
PLAIN = tuple(Form(volumes, scale) for volumes in (True, False) for scale in SCALES)
GATED = tuple(Form(scale=s, power=p) for p in POWERS if p for s in SCALES)
SURPRISED = tuple(Form(scale=s, alpha=a) for a in ALPHAS if a for s in SCALES)
BOTH = tuple(Form(False, s, a, p) for a in ALPHAS if a for p in POWERS if p for s in SCALES)
# System -> the forms that validation chooses from. `ridge_plain` is standard ridge regression. The
# gate and the surprise are label-free parts of this project's model; two systems add one of them
# each, and `ridge` may use all.
FAMILIES = {
    "ridge": (*PLAIN, *GATED, *SURPRISED, *BOTH),
    "ridge_plain": PLAIN,
    "ridge_gate": GATED,
    "ridge_surprise": SURPRISED,
}


@dataclass(frozen=True)
class Targets:
    """What ridge predicts, and what its predictions are compared with.

    Attributes:
        train: shape (n, rank), components of the train clips' tokens.
        turn: shape (rank, r), components -> coordinates (`llm4brain.align.basis.Space`).
        held: shape (m, r), coordinates of the validation clips, divided by their norms.
    """

    train: np.ndarray
    turn: np.ndarray
    held: np.ndarray


@dataclass(frozen=True)
class Kernel:
    """Inner products of clip features, and their eigendecomposition, used for all penalties.

    Attributes:
        scaler: mean and scale of each feature, from train.
        gate: shape (features,), factors applied to the scaled features; None: no factors.
        values, vectors: eigenvalues and eigenvectors of the train kernel.
        asked: shape (m, n), products of validation and train clips, in the eigenvector basis.
    """

    scaler: StandardScaler
    gate: np.ndarray | None
    values: np.ndarray
    vectors: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(
        cls, train: np.ndarray, validation: np.ndarray, scale: bool, gate: np.ndarray | None
    ) -> Kernel:
        """From (n, features) and (m, features); only train is used for fitting."""
        scaler = StandardScaler(with_std=scale).fit(train)
        own = _scaled(scaler, train, gate)
        values, vectors = np.linalg.eigh((own @ own.T).astype(np.float64))
        asked = _scaled(scaler, validation, gate) @ own.T @ vectors
        return cls(scaler, gate, values, vectors, asked)

    def shrunk(self, penalty: float) -> np.ndarray:
        """(n,) eigenvalues plus the penalty, which is relative to their mean."""
        level = self.values.mean()
        return self.values + penalty * (level if level > np.finfo(float).tiny else 1.0)

    def curve(self, targets: Targets, penalties: np.ndarray) -> np.ndarray:
        """(penalties,) mean correlation of predictions with the true tokens of validation clips."""
        rotated = self.vectors.T @ (targets.train @ targets.turn)
        nothing = 1e-6 * np.linalg.norm(rotated) / np.sqrt(len(rotated))
        score = np.empty(len(penalties))
        for i, penalty in enumerate(penalties):
            read = (self.asked / self.shrunk(penalty)) @ rotated
            size, fit = np.linalg.norm(read, axis=1), np.sum(read * targets.held, axis=1)
            score[i] = np.where(size > nothing, fit / size.clip(1e-300), 0.0).mean()
        return score

    def solved(
        self, train: np.ndarray, targets: Targets, penalties: np.ndarray, curve: np.ndarray
    ) -> Ridge:
        """The ridge at the best penalty of the curve, for the same train features."""
        penalty = float(penalties[np.argmax(curve)])
        rotated = self.vectors.T @ targets.train
        dual = self.vectors @ (rotated / self.shrunk(penalty)[:, None])
        scaled = _scaled(self.scaler, train, self.gate)
        parts = [scaled[:, part].T @ dual for part in blocks(*scaled.shape)]
        return Ridge(self.scaler, self.gate, np.concatenate(parts), penalty, curve)


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge.

    Attributes:
        scaler: mean and scale of each feature, from train.
        gate: shape (features,), factors applied to the scaled features; None: no factors.
        coef: shape (features, rank); a reading is `scaled @ coef`, in components.
        penalty: the chosen one, relative to the kernel's mean eigenvalue.
        validation: shape (penalties,), mean correlation with the validation clips' tokens.
    """

    scaler: StandardScaler
    gate: np.ndarray | None
    coef: np.ndarray
    penalty: float
    validation: np.ndarray

    def read(self, windows: np.ndarray) -> np.ndarray:
        """(n, ...) features or windows of the same kind as in fitting -> (n, rank) components."""
        return _scaled(self.scaler, _flat(windows), self.gate) @ self.coef


def _flat(windows: np.ndarray) -> np.ndarray:
    """(n, volumes, voxels) -> (n, volumes x voxels) float32."""
    return windows.reshape(len(windows), -1).astype(np.float32, copy=False)


def _scaled(scaler: StandardScaler, rows: np.ndarray, gate: np.ndarray | None) -> np.ndarray:
    scaled = scaler.transform(rows)
    if gate is not None:
        scaled *= gate
    return scaled


def fit_ridge(
    train: np.ndarray,
    validation: np.ndarray,
    targets: Targets,
    penalties: np.ndarray = PENALTIES,
    scale: bool = True,
    gate: np.ndarray | None = None,
) -> Ridge:
    """Fit on train windows only; the penalty is the best one on validation clips.

    One eigendecomposition of the train kernel is used for all penalties (Hastie & Tibshirani 2004).

    Args:
        train: shape (n, volumes, voxels), or (n, features).
        validation: shape (m, volumes, voxels), or (m, features).
        targets: of the same clips.
        scale: give voxels equal variance. BOLD is z-scored per run, so the variance that remains
            after averaging over showings reflects the signal-to-noise ratio.
        gate: shape (features,), factors applied to the scaled voxels.

    Raises:
        UserError: windows and tokens are of different clips, or of different sizes.
    """
    for windows, tokens in ((train, targets.train), (validation, targets.held)):
        if len(windows) != len(tokens) or windows.shape[1:] != train.shape[1:]:
            wrong = f"windows {windows.shape} and video tokens {tokens.shape} do not fit"
            raise UserError("features", wrong, "make the features again")
    kernel = Kernel.of(_flat(train), _flat(validation), scale, gate)
    return kernel.solved(_flat(train), targets, penalties, kernel.curve(targets, penalties))


def best_ridges(
    train: Seen,
    validation: Seen,
    targets: Targets,
    agreement: np.ndarray,
    families: Mapping[str, Sequence[Form]] = FAMILIES,
) -> dict[str, tuple[Form, Ridge]]:
    """The strongest baseline: for each family, the form that is best on validation clips.

    Separate volumes can model the haemodynamics but need more weights, which single clips may not
    support. The better form depends on the SNR, as do alpha and the power of the gate.

    Args:
        train, validation: of one subject.
        targets: of the same clips.
        agreement: shape (positions,), of the gate.
        families: system -> forms to choose from; the first one if several are equal.

    Returns:
        System -> its form, and the ridge fitted to the output of `form.of`.
    """
    reached = dict.fromkeys(families, -np.inf)
    best: dict[str, tuple[Form, Ridge]] = {}
    for form in dict.fromkeys(form for forms in families.values() for form in forms):
        rows = form.of(train)
        kernel = Kernel.of(rows, form.of(validation), form.scale, form.gate(agreement))
        curve = kernel.curve(targets, PENALTIES)
        better = [s for s, forms in families.items() if form in forms and curve.max() > reached[s]]
        if better:
            own = kernel.solved(rows, targets, PENALTIES, curve)
            reached |= dict.fromkeys(better, curve.max())
            best |= dict.fromkeys(better, (form, own))
    return {system: best[system] for system in families}
