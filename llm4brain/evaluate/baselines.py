"""Systems that see no trained encoder: two floors, the linear baseline, the video's ceiling.

All that they know comes from train clips; the ridge's penalty comes from validation clips.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import StandardScaler, normalize

from llm4brain.errors import UserError
from llm4brain.evaluate.retrieval import correlations

# from nearly no shrinkage to nearly nothing but the mean, relative to the kernel's mean eigenvalue
PENALTIES = np.logspace(-4, 4, 33)
SIGMA = 6.0  # words; CIDEr-D's penalty for another length


def _words(caption: str) -> str:
    """Lower case, without punctuation: near enough to PTB tokens to choose a caption by."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)?", caption.lower()))


def consensus(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of each candidate said of every clip, but for CIDEr-D's clipping of repeats.

    A mean over references of cosines is a product with the references' mean, so that thousands
    of candidates cost no more than one.

    Args:
        candidates: captions.
        references: a clip's captions, for each clip.

    Returns:
        Shape (candidates,), 0-1.
    """
    flat = [_words(c) for own in references for c in own]
    said = [_words(c) for c in candidates]
    clip = np.repeat(np.arange(len(references)), [len(own) for own in references])
    share = 1 / np.bincount(clip)[clip] / len(references)  # each clip counts alike
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
    """The train caption that fits all train clips best: the floor that knows the style."""
    candidates = sorted({c for own in references for c in own})
    return candidates[int(np.argmax(consensus(candidates, references)))]


def typical_captions(references: Sequence[Sequence[str]]) -> list[str]:
    """Of each clip's captions the one nearest to its others: the safest if the clip is right."""
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
    """A train clip for each test clip, drawn blindly: shape (n_test,)."""
    return np.random.default_rng(list(seed)).integers(n_train, size=n_test)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression from BOLD windows to video tokens, in its dual form.

    Attributes:
        scaler: mean and scale of each feature, from train.
        train: shape (n, features), scaled.
        dual: shape (n, D); a reading is `scaled @ train.T @ dual + centre`.
        centre: shape (D,), mean of the train targets.
        penalty: chosen one, relative to the kernel's mean eigenvalue.
        validation: shape (penalties,), mean correlation with the validation clips' truth.
    """

    scaler: StandardScaler
    train: np.ndarray
    dual: np.ndarray
    centre: np.ndarray
    penalty: float
    validation: np.ndarray

    def read(self, windows: np.ndarray) -> np.ndarray:
        """(n, volumes, voxels) -> (n, D)."""
        scaled = self.scaler.transform(_flat(windows))
        return scaled @ self.train.T @ self.dual + self.centre


def _flat(windows: np.ndarray) -> np.ndarray:
    """(n, volumes, voxels) -> (n, volumes x voxels) float32."""
    return windows.reshape(len(windows), -1).astype(np.float32)


def fit_ridge(
    train: np.ndarray,
    train_tokens: np.ndarray,
    validation: np.ndarray,
    validation_tokens: np.ndarray,
    penalties: np.ndarray = PENALTIES,
    scale: bool = True,
) -> Ridge:
    """Fit on train windows alone; the penalty is the one that reads validation clips best.

    One eigendecomposition of the train kernel serves all penalties (Hastie & Tibshirani 2004).

    Args:
        train: shape (n, volumes, voxels).
        train_tokens: shape (n, D).
        validation: shape (m, volumes, voxels).
        validation_tokens: shape (m, D).
        scale: give voxels equal variance. BOLD is z-scored a run, so what variance is left after
            averaging over showings tells signal from noise.

    Raises:
        UserError: windows and tokens are not of the same clips, or of different sizes.
    """
    for windows, tokens in ((train, train_tokens), (validation, validation_tokens)):
        if len(windows) != len(tokens) or windows.shape[1:] != train.shape[1:]:
            wrong = f"windows {windows.shape} and video tokens {tokens.shape} do not fit"
            raise UserError("features", wrong, "make the features anew")
    scaler = StandardScaler(with_std=scale).fit(_flat(train))
    scaled = scaler.transform(_flat(train))
    centre = train_tokens.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    rotated = vectors.T @ (train_tokens - centre)  # (n, D)
    asked = scaler.transform(_flat(validation)) @ scaled.T @ vectors  # (m, n)
    level = max(values.mean(), np.finfo(float).tiny)
    score = np.empty(len(penalties))
    for i, penalty in enumerate(penalties):
        reading = asked @ (rotated / (values + penalty * level)[:, None])
        fit = correlations(reading + centre, validation_tokens, centre)
        score[i] = np.diag(fit).mean()
    best = int(np.argmax(score))
    dual = vectors @ (rotated / (values + penalties[best] * level)[:, None])
    return Ridge(scaler, scaled, dual, centre, float(penalties[best]), score)


def nearest(readings: np.ndarray, train_tokens: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Index of the train clip that correlates best with each reading: shape (n,)."""
    return np.argmax(np.round(correlations(readings, train_tokens, centre), 9), axis=1)


# What ridge may be given of a window: its volumes apart, or their mean.
FORMS = {"volumes": lambda windows: windows, "mean": lambda windows: windows.mean(1, keepdims=True)}


def best_ridge(
    train: np.ndarray,
    train_tokens: np.ndarray,
    validation: np.ndarray,
    validation_tokens: np.ndarray,
) -> tuple[str, Ridge]:
    """The baseline at its strongest: `fit_ridge` on the form that reads validation clips best.

    Volumes apart can weigh the haemodynamics, at the price of more weights than the signal of
    single clips pays for; which wins depends on the SNR. Shapes as in `fit_ridge`.

    Returns:
        Name of the form, and the ridge that reads windows brought into it.
    """
    fits = {
        (name, scale): fit_ridge(
            form(train), train_tokens, form(validation), validation_tokens, scale=scale
        )
        for name, form in FORMS.items()
        for scale in (False, True)
    }
    best = max(fits, key=lambda key: fits[key].validation.max())
    return best[0], fits[best]
