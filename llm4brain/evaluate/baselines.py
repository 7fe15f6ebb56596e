"""Systems without an encoder trained on captions or video tokens: floors, ridge, ceiling.

They are fitted on train clips only; the input features of a ridge and its penalty are chosen on
validation clips. The gate and the surprise, which ridge may use, were learned from train BOLD only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import StandardScaler, normalize

from llm4brain.align.aligner import ALPHAS, POWERS
from llm4brain.align.gate import gate_weights
from llm4brain.errors import UserError
from llm4brain.evaluate.retrieval import correlations

# from almost no shrinkage to almost only the mean, relative to the kernel's mean eigenvalue
PENALTIES = np.logspace(-4, 4, 33)
SIGMA = 6.0  # words; width of CIDEr-D's length penalty


def _words(caption: str) -> str:
    """Lower case, without punctuation; close enough to PTB tokens for choosing a caption."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)?", caption.lower()))


def consensus(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Mean CIDEr-D of each candidate over all clips, without CIDEr-D's clipping of repeats.

    The mean of cosines over references is a product with the mean reference vector, so thousands
    of candidates cost no more than one.

    Args:
        candidates: captions.
        references: captions of each clip.

    Returns:
        Shape (candidates,), 0-1.
    """
    flat = [_words(c) for own in references for c in own]
    said = [_words(c) for c in candidates]
    clip = np.repeat(np.arange(len(references)), [len(own) for own in references])
    share = 1 / np.bincount(clip)[clip] / len(references)  # equal weight for each clip
    lengths = np.array([len(c.split()) for c in flat])
    own_lengths = np.array([len(c.split()) for c in said])
    of_clip = sparse.csr_matrix((np.ones(len(flat)), (clip, np.arange(len(flat)))))
    total = np.zeros(len(said))
    for n in range(1, 5):
        counter = CountVectorizer(ngram_range=(n, n), token_pattern=r"\S+", lowercase=False)
        try:
            counts = counter.fit_transform(flat)
        except ValueError:  # no caption has n words
            continue
        document_frequency = np.asarray((of_clip @ counts > 0).sum(axis=0)).ravel()
        idf = sparse.diags(np.log(len(references) / document_frequency))
        rows = normalize(counts @ idf)
        asked = normalize(counter.transform(said) @ idf)
        for length in np.unique(lengths):
            here = np.where(lengths == length, share, 0.0)
            gauss = np.exp(-((own_lengths - length) ** 2) / (2 * SIGMA**2))
            total += gauss * (asked @ (rows.T @ here)) / 4
    return total


def constant_caption(references: Sequence[Sequence[str]]) -> str:
    """The train caption that fits all train clips best: a floor that only knows the style."""
    candidates = sorted({c for own in references for c in own})
    return candidates[int(np.argmax(consensus(candidates, references)))]


def typical_captions(references: Sequence[Sequence[str]]) -> list[str]:
    """For each clip, the caption most similar to its other captions."""
    flat = [c for own in references for c in own]
    features = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
    vectors = normalize(features.fit_transform([_words(c) for c in flat]).astype(float))
    chosen, start = [], 0
    for own in references:
        rows = vectors[start : start + len(own)]
        agreement = np.asarray(rows @ np.asarray(rows.sum(axis=0)).ravel()).ravel()
        chosen.append(own[int(np.argmax(np.round(agreement, 9)))])
        start += len(own)
    return chosen


def random_clips(n_train: int, n_test: int, seed: Sequence[int]) -> np.ndarray:
    """A random train clip for each test clip: shape (n_test,)."""
    return np.random.default_rng(list(seed)).integers(n_train, size=n_test)


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
class Kernel:
    """Inner products of clip features, and their eigendecomposition, used for all penalties.

    Attributes:
        scaler: mean and scale of each feature, from train.
        train: shape (n, features), scaled and gated.
        values, vectors: eigenvalues and eigenvectors of the train kernel.
        asked: shape (m, n), products of validation and train clips, in the eigenvector basis.
    """

    scaler: StandardScaler
    train: np.ndarray
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
        return cls(
            scaler, own, values, vectors, _scaled(scaler, validation, gate) @ own.T @ vectors
        )

    def shrunk(self, penalty: float) -> np.ndarray:
        """(n,) eigenvalues plus the penalty, which is relative to their mean."""
        level = self.values.mean()
        return self.values + penalty * (level if level > np.finfo(float).tiny else 1.0)


@dataclass(frozen=True)
class Targets:
    """Inner products of video tokens, which suffice for choosing the penalty.

    Attributes:
        train: shape (n, n), of train clips, centred.
        held: shape (m, n), of validation clips (unit length) with train clips.
    """

    train: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray, validation: np.ndarray, centre: np.ndarray) -> Targets:
        """From (n, D) and (m, D) tokens, minus `centre` (D,) and each row's mean."""
        own, held = (rows - centre for rows in (train, validation))
        for rows in (own, held):
            rows -= rows.mean(axis=1, keepdims=True)
        held /= np.linalg.norm(held, axis=1, keepdims=True).clip(1e-12)
        return cls(own @ own.T, held @ own.T)

    def curve(self, kernel: Kernel, penalties: np.ndarray) -> np.ndarray:
        """(penalties,) mean correlation of predictions with the true tokens of validation clips."""
        train = kernel.vectors.T @ self.train @ kernel.vectors
        held = self.held @ kernel.vectors
        nothing = 1e-6 * np.sqrt(np.trace(self.train) / len(self.train))
        score = np.empty(len(penalties))
        for i, penalty in enumerate(penalties):
            weights = kernel.asked / kernel.shrunk(penalty)  # a reading is weights @ train tokens
            size = np.sqrt(np.sum(weights @ train * weights, axis=1).clip(0))
            fit = np.sum(weights * held, axis=1)
            score[i] = np.where(size > nothing, fit / size.clip(1e-300), 0.0).mean()
        return score


@dataclass(frozen=True)
class Ridge:
    """Ridge regression from BOLD to video tokens, in its dual form.

    Attributes:
        scaler: mean and scale of each feature, from train.
        gate: shape (features,), factors applied to the scaled features; None: no factors.
        train: shape (n, features), scaled and gated.
        dual: shape (n, D); a reading is `scaled @ train.T @ dual + centre`.
        centre: shape (D,), mean of the train targets.
        penalty: the chosen one, relative to the kernel's mean eigenvalue.
        validation: shape (penalties,), mean correlation with the validation clips' tokens.
    """

    scaler: StandardScaler
    gate: np.ndarray | None
    train: np.ndarray
    dual: np.ndarray
    centre: np.ndarray
    penalty: float
    validation: np.ndarray

    def read(self, windows: np.ndarray) -> np.ndarray:
        """(n, ...) features or windows of the same kind as in fitting -> (n, D)."""
        scaled = _scaled(self.scaler, _flat(windows), self.gate)
        return scaled @ self.train.T @ self.dual + self.centre


def _flat(windows: np.ndarray) -> np.ndarray:
    """(n, volumes, voxels) -> (n, volumes x voxels) float32."""
    return windows.reshape(len(windows), -1).astype(np.float32, copy=False)


def _scaled(scaler: StandardScaler, rows: np.ndarray, gate: np.ndarray | None) -> np.ndarray:
    scaled = scaler.transform(rows)
    return scaled if gate is None else scaled * gate


def fit_ridge(
    train: np.ndarray,
    train_tokens: np.ndarray,
    validation: np.ndarray,
    validation_tokens: np.ndarray,
    penalties: np.ndarray = PENALTIES,
    scale: bool = True,
    gate: np.ndarray | None = None,
) -> Ridge:
    """Fit on train windows only; the penalty is the best one on validation clips.

    One eigendecomposition of the train kernel is used for all penalties (Hastie & Tibshirani 2004).

    Args:
        train: shape (n, volumes, voxels), or (n, features).
        train_tokens: shape (n, D).
        validation: shape (m, volumes, voxels), or (m, features).
        validation_tokens: shape (m, D).
        scale: give voxels equal variance. BOLD is z-scored per run, so the variance that remains
            after averaging over showings reflects the signal-to-noise ratio.
        gate: shape (features,), factors applied to the scaled voxels.

    Raises:
        UserError: windows and tokens are of different clips, or of different sizes.
    """
    for windows, tokens in ((train, train_tokens), (validation, validation_tokens)):
        if len(windows) != len(tokens) or windows.shape[1:] != train.shape[1:]:
            wrong = f"windows {windows.shape} and video tokens {tokens.shape} do not fit"
            raise UserError("features", wrong, "make the features anew")
    kernel = Kernel.of(_flat(train), _flat(validation), scale, gate)
    centre = train_tokens.mean(axis=0, dtype=np.float64)
    score = Targets.of(train_tokens, validation_tokens, centre).curve(kernel, penalties)
    penalty = float(penalties[np.argmax(score)])
    rotated = kernel.vectors.T @ (train_tokens - centre)  # (n, D)
    dual = kernel.vectors @ (rotated / kernel.shrunk(penalty)[:, None])
    return Ridge(kernel.scaler, gate, kernel.train, dual, centre, penalty, score)


def nearest(readings: np.ndarray, train_tokens: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Index of the train clip that correlates best with each reading: shape (n,)."""
    return np.argmax(np.round(correlations(readings, train_tokens, centre), 9), axis=1)


def best_ridges(
    train: Seen,
    train_tokens: np.ndarray,
    validation: Seen,
    validation_tokens: np.ndarray,
    agreement: np.ndarray,
    families: Mapping[str, Sequence[Form]] = FAMILIES,
) -> dict[str, tuple[Form, Ridge]]:
    """The strongest baseline: for each family, the form that is best on validation clips.

    Separate volumes can model the haemodynamics but need more weights, which single clips may not
    support. The better form depends on the SNR, as do alpha and the power of the gate.

    Args:
        train, validation: of one subject.
        train_tokens: shape (n, D).
        validation_tokens: shape (m, D).
        agreement: shape (positions,), of the gate.
        families: system -> forms to choose from; the first one if several are equal.

    Returns:
        System -> its form, and the ridge fitted to the output of `form.of`.
    """
    centre = train_tokens.mean(axis=0, dtype=np.float64)
    targets = Targets.of(train_tokens, validation_tokens, centre)
    reached = {}
    for form in dict.fromkeys(form for forms in families.values() for form in forms):
        parts = (form.of(train), form.of(validation))
        kernel = Kernel.of(*parts, form.scale, form.gate(agreement))
        reached[form] = targets.curve(kernel, PENALTIES).max()
    best = {system: max(forms, key=reached.__getitem__) for system, forms in families.items()}
    fits = {
        form: fit_ridge(
            form.of(train),
            train_tokens,
            form.of(validation),
            validation_tokens,
            scale=form.scale,
            gate=form.gate(agreement),
        )
        for form in dict.fromkeys(best.values())
    }
    return {system: (form, fits[form]) for system, form in best.items()}
