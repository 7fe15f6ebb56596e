"""Readouts for new people, of whom few or no data are available.

Settings (alpha, the gate's power, smoothing, whitening, coupling, penalty) are chosen by leaving
known people out, one at a time: each is treated as new, with as many minutes as the new person has,
and its validation films are predicted from the others. The new person's own validation films are
never used. Predictions are rescaled to the mean norm of known people's out-of-fold predictions,
because a ridge with little signal predicts small values, and the LLM takes small values as vague.
The component weights are also those of known people; weights learned from left-out people's
predictions performed worse.

How the others' data are used (`Help`):

    coupled      the readout is fitted on all people; `coupling` sets the similarity between people
    functional   as above, plus a space shared by people's responses, learned from the same minutes
    unlabelled   the shared space only: no caption of the new person is used
    gated        the readout is fitted on the new person's minutes only; encoder, gate, adaptor and
                 whitening are the others'
    alone        the new person's minutes only, a baseline without others' BOLD: the BOLD as it is,
                 whitened by its own directions. Settings, the size of the predictions and the
                 weights of the components are still those of the others
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np

from llm4brain.align.basis import Basis
from llm4brain.align.features import products
from llm4brain.align.functional import SharedResponse
from llm4brain.align.readout import agreement, coupled, ridge_dual, written_size
from llm4brain.align.samples import Samples
from llm4brain.align.whiten import Whitening
from llm4brain.checkpoint import NO_PROGRESS, Progress

Help = Literal["coupled", "functional", "unlabelled", "gated", "alone"]
OWN_READOUT = ("gated", "alone")  # fitted without the others' samples
SMOOTHING = (0.0, 3.0, 6.0)
NOISES = (0.0, 0.3, 1.0, 3.0)  # of whitening; 0: none
ALPHAS, POWERS = (0.0, 0.5, 0.7, 0.9), (0.0, 0.5, 1.0, 1.5)
COUPLINGS = (0.1, 0.25, 0.5, 1.0)
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
LEFT_OUT = 6  # maximum number of people left out in turn: the first by label

# samples, alpha, power, smooth_mm, agreement of the gate -> uncentred features
Features = Callable[[Samples, float, float, float, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Choice:
    """Settings chosen for a new person.

    Attributes:
        alpha, power, smooth_mm, noise, coupling, penalty: chosen on left-out people. Features are
            smoothed by a Gaussian of smooth_mm, since functional locations differ between people,
            and whitened (`align.whiten`) with this `noise`.
        scale: factor that brings predictions to the size of known people's.
        agreement: between predictions for left-out people and the truth.
    """

    alpha: float
    power: float
    smooth_mm: float
    noise: float
    coupling: float
    penalty: float
    scale: float
    agreement: float


def common_space(
    rows: np.ndarray, samples: Samples, how: Help, n_components: int
) -> SharedResponse | None:
    """The space shared by known people's features (n, positions); None if `how` needs none."""
    if how not in ("functional", "unlabelled"):
        return None
    space = SharedResponse(n_components)
    return space.fit(rows, subjects=samples.subjects, moments=samples.clips)


@dataclass(frozen=True)
class Prepared:
    """Centred and whitened features.

    Attributes:
        known, own: of the others and of the new person, (n, positions) and (m, positions).
        mean: (positions,) that was subtracted.
        white: the whitening.
        space: from `common_space`.
    """

    known: np.ndarray
    own: np.ndarray
    mean: np.ndarray
    white: Whitening
    space: SharedResponse | None


def prepare(
    known: np.ndarray, own: np.ndarray, samples: Samples, how: Help, noise: float, n_components: int
) -> Prepared:
    """Centre and whiten features in place, by the others' samples or, if `alone`, by the own ones.

    Args:
        known, own: of the others and of the new person.
        samples: that `known` belongs to.
        how, noise, n_components: see `Help`, `Whitening` and `common_space`.
    """
    reference = own if how == "alone" else known
    mean = reference.mean(0)
    known -= mean
    own -= mean
    white = Whitening.fit(reference, noise)
    known, own = white.apply(known), white.apply(own)
    return Prepared(known, own, mean, white, common_space(known, samples, how, n_components))


class Problem:
    """Kernel ridge over the others' samples and a new person's, set up once for all penalties.

    Args:
        ready: features of the others and of the new person, who may have none.
        samples, few: the samples that these belong to.
        coupling: between people.
        how: how the others' data are used.
    """

    def __init__(
        self,
        ready: Prepared,
        samples: Samples,
        few: Samples | None,
        coupling: float,
        how: Help,
    ) -> None:
        known, own, space = ready.known, ready.own, ready.space
        # samples with targets: `unlabelled` omits the new person's
        parts = []
        if how not in OWN_READOUT:
            parts.append((known, samples.subjects, samples.targets))
        if how != "unlabelled" and few is not None:
            parts.append((own, np.full(len(own), ""), few.targets))
        self.rows, who, self.targets = (np.concatenate(p) for p in zip(*parts, strict=True))
        self.near = np.where(who == "", 1.0, coupling).astype(np.float32)[:, None]
        self.sizes, self.way = [0.0, 0.0], None
        self.kernel = np.zeros((len(self.rows), len(self.rows)))
        if how != "unlabelled":
            plain = coupled(products(self.rows, self.rows), who, who, coupling)
            self.sizes[0] = 1 / max(np.trace(plain) / len(plain), 1e-12)
            self.kernel += self.sizes[0] * plain
        if space is not None:
            moments = few.clips if few is not None else np.array([])
            ways = space.maps_ | {"": space.way_of(own, moments)}
            ways = {name: way * space.reliability_ for name, way in ways.items()}
            self.way, self.shared = ways[""], np.empty((len(who), len(space.reliability_)))
            for name in np.unique(who):
                self.shared[who == name] = self.rows[who == name] @ ways[name]
            inner = self.shared @ self.shared.T
            self.sizes[1] = 1 / max(np.trace(inner) / len(inner), 1e-12)
            self.kernel += self.sizes[1] * inner

    def weights(self, penalty: float) -> np.ndarray:
        """(positions, rank): the readout of the new person."""
        dual = ridge_dual(self.kernel, self.targets, penalty)
        out = self.sizes[0] * (self.rows.T @ (self.near * dual.astype(np.float32)))
        if self.way is not None:
            out += self.sizes[1] * (self.way @ (self.shared.T @ dual))
        return out.astype(np.float32)


def choose(
    known: Samples,
    validation: Samples,
    few: Mapping[str, Samples],
    gates: Mapping[str, np.ndarray],
    features: Features,
    how: Help,
    start: tuple[float, float],
    n_components: int,
    size: float,
    basis: Basis,
    alphas: Sequence[float] = ALPHAS,
    powers: Sequence[float] = POWERS,
    progress: Progress = NO_PROGRESS,
) -> Choice:
    """Leave out known people one at a time; choose what predicts their validation films best.

    Args:
        known, validation: samples of the known people.
        few: known person -> samples of as many minutes as the new person has; empty for none.
        gates: known person -> agreement of the gate fitted without that person.
        features: computes features for given samples, alpha, power, smoothing and gate.
        how: how the others' data are used.
        start: initial alpha and power.
        n_components: dimension of the common space.
        size: mean norm of known people's weighted out-of-fold predictions.
        basis: components and their weights.
        alphas, powers: candidate values.
        progress: keeps how well each candidate predicts each left-out person.

    Coordinate search from `start`: coupling, whitening, smoothing, power and alpha, in this order.
    """
    left_out = [s for s in gates if (validation.subjects == s).any()][:LEFT_OUT]

    @lru_cache(maxsize=len(left_out))  # features are reused for all couplings
    def prepared(name: str, noise: float, *seen: float) -> tuple[Prepared, np.ndarray]:
        """Features of the others and of the left-out person; and of its validation films."""
        others, mine = known.without(name), few.get(name)
        rows = features(others, *seen, gates[name])
        own = rows[:0] if mine is None else features(mine, *seen, gates[name])
        ready = prepare(rows, own, others, how, noise, n_components)
        shown = features(validation.of_subject(name), *seen, gates[name]) - ready.mean
        return ready, ready.white.apply(shown)

    def read(
        name: str, penalties: Sequence[float], coupling: float, noise: float, **seen: float
    ) -> list[np.ndarray]:
        """Predictions for the validation samples of a left-out person, one per penalty."""
        ready, shown = prepared(name, noise, *seen.values())
        problem = Problem(ready, known.without(name), few.get(name), coupling, how)
        return [shown @ problem.weights(penalty) for penalty in penalties]

    def reached(name: str, now: dict[str, float]) -> list[float]:
        """Agreement for a left-out person, with weighted components, one per penalty."""
        count = np.sqrt(basis.weights)
        truth = validation.of_subject(name).targets * count
        return [agreement(found * count, truth) for found in read(name, PENALTIES, **now)]

    def size_of(name: str, now: dict[str, float], penalty: float) -> float:
        return written_size(read(name, [penalty], **now)[0], basis)

    def every(what: Callable[..., Any], *given: Any) -> list[Any]:
        """`what` of each left-out person; a resumed run looks it up."""
        return [
            progress.value([what.__name__, name, *given], partial(what, name, *given))
            for name in left_out
        ]

    def reach(**now: float) -> tuple[float, float]:
        """Best agreement over penalties, mean over left-out people, and its penalty."""
        means = [np.mean(own) for own in zip(*every(reached, now), strict=True)]
        best = int(np.argmax(means))
        return float(means[best]), PENALTIES[best]

    now = {"alpha": start[0], "power": start[1], "smooth_mm": 0.0, "noise": 1.0, "coupling": 0.25}
    best = reach(**now)
    options = {"coupling": COUPLINGS, "noise": NOISES, "smooth_mm": SMOOTHING}
    options |= {"power": powers, "alpha": alphas}
    if how in ("unlabelled", *OWN_READOUT):
        options.pop("coupling")
    for name, values in options.items():
        for value in values:
            if value != now[name]:
                tried = reach(**(now | {name: value}))
                if tried[0] > best[0]:
                    best, now = tried, now | {name: value}
    scale = size / max(float(np.mean(every(size_of, now, best[1]))), 1e-12)
    return Choice(**now, penalty=best[1], scale=scale, agreement=best[0])
