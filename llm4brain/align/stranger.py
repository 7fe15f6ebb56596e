"""Reading people of whom little or nothing is known.

A known person is left out, as if new, and read from the others, with as many minutes as the new
person has. What serves there (alpha, the gate's power, coupling, penalty) is taken for the new
person, whose own validation films nobody looks at. Readings are brought to the size that known
people's have out of fold, for a ridge that trusts little says little, and the LLM takes a small
reading for a vague one. How components weigh is known people's too: learned from readings of
people left out, it read worse.

How others' data serve (`Help`):

    coupled      the readout is fitted on all, samples of different people alike by `coupling`
    functional   and through the space that people's responses share, learned from the same minutes
    unlabelled   through that space alone: no caption of the new person is used
    alone        the person's own minutes; of the others only encoder, gate and these choices
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from llm4brain.align.features import products
from llm4brain.align.functional import SharedResponse
from llm4brain.align.readout import Basis, agreement, coupled, ridge_dual, written_size
from llm4brain.align.samples import Samples

Help = Literal["coupled", "functional", "unlabelled", "alone"]
SMOOTHING = (0.0, 3.0, 6.0)
ALPHAS, POWERS = (0.0, 0.5, 0.7, 0.9), (0.0, 0.5, 1.0, 1.5)
COUPLINGS = (0.1, 0.25, 0.5, 1.0)
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
LEFT_OUT = 6  # people who are left out in turn, at the most: the first by label

# samples, alpha, power, smooth_mm, agreement of the gate -> uncentred features
Features = Callable[[Samples, float, float, float, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Choice:
    """What serves a new person.

    Attributes:
        alpha, power, smooth_mm, coupling, penalty: as chosen on people left out. Features are
            smoothed by a Gaussian of so many mm, since places of function differ between people.
        scale: that brings readings to the size of known people's.
        agreement: of the readings of people left out with the truth.
    """

    alpha: float
    power: float
    smooth_mm: float
    coupling: float
    penalty: float
    scale: float
    agreement: float


def common_space(
    rows: np.ndarray, samples: Samples, how: Help, n_components: int
) -> SharedResponse | None:
    """The space that known people's features (n, positions) share; None where `how` needs none."""
    if how not in ("functional", "unlabelled"):
        return None
    space = SharedResponse(n_components)
    return space.fit(rows, subjects=samples.subjects, moments=samples.clips)


class Problem:
    """Others' samples and a new person's, of which every penalty costs a matrix product.

    Args:
        known: (n, positions) features of the others, centred; own: (m, positions), m may be 0.
        samples, few: what they are of.
        coupling: between people.
        how: others' data serve.
        space: of `common_space`.
    """

    def __init__(
        self,
        known: np.ndarray,
        own: np.ndarray,
        samples: Samples,
        few: Samples | None,
        coupling: float,
        how: Help,
        space: SharedResponse | None,
    ) -> None:
        # which samples tell what was shown: `alone` leaves the others' out, `unlabelled` the own
        parts = []
        if how != "alone":
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
        """(positions, rank): the new person's readout."""
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
    smoothing: Sequence[float] = SMOOTHING,
) -> Choice:
    """Leave known people out, one at a time, and choose what reads their validation films best.

    Args:
        known, validation: samples of the known people.
        few: known person -> its samples of as many minutes as the new one has; empty for none.
        gates: known person -> agreement of the gate learned without that person.
        features: of samples, for an alpha, power, smoothing and gate.
        how: others' data serve.
        start: alpha and power to begin at.
        n_components: of the common space.
        size: mean norm of known people's out-of-fold readings, as they are written.
        basis: of the components, which says how they are written.
        alphas, powers, smoothing: to choose from.

    From `start`, coupling, smoothing, power and alpha are moved one after another.
    """
    left_out = [s for s in gates if (validation.subjects == s).any()][:LEFT_OUT]

    @lru_cache(maxsize=len(left_out))  # couplings are tried on the same features
    def prepared(name: str, *seen: float):
        """Centred features: the others, the person left out, its films to read; and the space."""
        others, mine = known.without(name), few.get(name)
        rows = features(others, *seen, gates[name])
        mean = rows.mean(0)
        rows -= mean
        own = rows[:0] if mine is None else features(mine, *seen, gates[name]) - mean
        shown = features(validation.of_subject(name), *seen, gates[name]) - mean
        return rows, own, shown, common_space(rows, others, how, n_components)

    def read(
        coupling: float, penalties: Sequence[float], **seen: float
    ) -> dict[str, list[np.ndarray]]:
        """Readings of the validation samples of everybody left out, one for each penalty."""
        found = {}
        for name in left_out:
            rows, own, shown, space = prepared(name, *seen.values())
            given = (rows, own, known.without(name), few.get(name), coupling, how, space)
            problem = Problem(*given)
            found[name] = [shown @ problem.weights(penalty) for penalty in penalties]
        return found

    def reach(**now: float) -> tuple[float, float]:
        """Best agreement, where components count as they weigh, and its penalty."""
        found = read(penalties=PENALTIES, **now)
        count = np.sqrt(basis.weights)
        truth = {name: validation.of_subject(name).targets * count for name in left_out}
        reached = [
            np.mean([agreement(found[name][i] * count, truth[name]) for name in left_out])
            for i in range(len(PENALTIES))
        ]
        best = int(np.argmax(reached))
        return float(reached[best]), PENALTIES[best]

    now = {"alpha": start[0], "power": start[1], "smooth_mm": 0.0, "coupling": 0.25}
    best = reach(**now)
    options = {"coupling": COUPLINGS, "smooth_mm": smoothing, "power": powers, "alpha": alphas}
    if how in ("alone", "unlabelled"):
        options.pop("coupling")
    for name, values in options.items():
        for value in values:
            if value != now[name]:
                tried = reach(**(now | {name: value}))
                if tried[0] > best[0]:
                    best, now = tried, now | {name: value}
    found = read(**now, penalties=[best[1]])
    sizes = [written_size(found[name][0], basis) for name in left_out]
    scale = size / max(float(np.mean(sizes)), 1e-12)
    return Choice(**now, penalty=best[1], scale=scale, agreement=best[0])
