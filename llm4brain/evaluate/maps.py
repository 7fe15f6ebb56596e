"""Brain maps: the contribution of each voxel to identifying the correct clip.

A reading matches a clip by their correlation,

    match(r, t) = <r, t> / (|r| |t|),     r, t centred as retrieval centres them     (1)

and the contribution of voxel v comes from its surprise f_v (what remains of its signal after
prediction from its neighbours, weighted by gate and adaptor: `align/reader.py`),

    a_v(i, j) = f_iv <w_v, t_j> / (|r_i| |t_j|)                                       (2)

for the reading of clip i and the tokens of clip j, where w_v is the voxel's readout. It is the loss
in match when the voxel's surprise is set to its mean and the length of the reading is kept. The
readout is linear, so the contributions of all voxels add up to the match. The map is the mean of
a_v(i, i) over test clips, minus the mean after permuting blocks of clips, as for the p of table 1.
It is therefore evidence for the specific clip and not for films in general. (Some blocks stay in
place in a permutation, so a small part of the clip's own contribution is also subtracted: one part
in the number of blocks.)

Interpretation (Haufe et al. 2014, on filters and patterns). This is not a map of weights: a voxel
that is only used to cancel noise in another has a weight, but its own BOLD is not related to the
clip, and its contributions average to zero over clips. It is also not a map of information: a voxel
that carries information about the clip but is redundant with other voxels may contribute nothing.
The map shows what this decoder uses, for this subject and these clips. Its smoothness is that of
the BOLD and the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4brain.align.basis import Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain.cohort import Cohort
from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks
from llm4brain.evaluate.permutation import shuffles
from llm4brain.evaluate.retrieval import correlations
from llm4brain.io import Arrays

SHUFFLES = 999  # enough to estimate a voxel's null standard deviation to 2%
LEVEL = 0.05  # family-wise error rate of the threshold
BATCH = 16  # clips processed at a time


@dataclass(frozen=True)
class BrainMap:
    """Contribution of each voxel to the match, compared with chance.

    Attributes:
        contribution: (voxels,) float32, part of a correlation, minus its mean over shuffles.
        z: (voxels,) float32, the same in standard deviations over shuffles; 0 for voxels that are
            not used.
        threshold: |z| that the maximum over voxels exceeds in 5 of 100 shuffles.
        match: mean correlation of a reading with its own clip, minus that with shuffled clips.
        clips: number of test clips.
    """

    contribution: np.ndarray
    z: np.ndarray
    threshold: float
    match: float
    clips: int

    @property
    def total(self) -> float:
        """Sum over voxels. Equals the match, except for the part of a nonlinear reader."""
        return float(self.contribution.sum(dtype=np.float64))


def brain_map(
    reader: BrainReader,
    windows: np.ndarray,
    clip_ids: Sequence[str],
    truth: tuple[np.ndarray, np.ndarray],
    subject: str,
    seconds: float,
    seed: int,
) -> BrainMap:
    """The map of a subject's test clips.

    Args:
        reader: the trained reader.
        windows: shape (clips, T, voxels), one window per test clip.
        clip_ids: their names.
        truth: their video tokens, (clips, r) coordinates and (clips,) norms, see `Space.truth`.
        subject: label.
        seconds: length of the permuted blocks.
        seed: of the shuffles.

    Raises:
        UserError: voxels or volumes of the windows differ from those of the model, or the clips
            form fewer than two blocks, so they cannot be permuted.
    """
    if windows.shape[2] != len(reader.agreement):
        wrong = f"are of {windows.shape[2]} voxels; the model reads {len(reader.agreement)}"
        raise UserError("windows", wrong, "remake features and model")
    block = blocks(clip_ids, seconds)
    if block.max() < 1:
        wrong = f"make no two blocks of {seconds:g} s, so there is no null"
        raise UserError("test clips", wrong, "lower evaluate.block_seconds, or test on more film")
    orders = shuffles(block, SHUFFLES, seed)

    turn = Space.of(reader.basis).turn * reader.basis.weights[:, None]  # components -> coordinates
    unit = truth[0] / truth[1].clip(1e-12)[:, None]
    aims = (unit @ turn.T).astype(np.float32)  # (clips, rank): (2) in component space

    own = np.zeros(windows.shape[2], dtype=np.float32)
    null = np.zeros((SHUFFLES, windows.shape[2]), dtype=np.float32)
    readings = []
    for i in range(0, len(windows), BATCH):
        rows = slice(i, i + BATCH)
        features, weight = reader.centred(windows[rows], subject)
        found = features @ weight
        reading = found @ turn
        length = np.linalg.norm(reading, axis=1).clip(1e-12)
        scaled = features / (len(windows) * length)[:, None]
        # for one clip: its features times the effect of their weights on another clip's tokens
        own += np.einsum("bv,vb->v", scaled, weight @ aims[rows].T)
        for b in range(len(found)):
            null += scaled[b] * (aims[orders[:, i + b]] @ weight.T)
        readings.append(reading)

    scores = correlations(np.concatenate(readings), *truth)
    clips = np.arange(len(scores))
    match = scores[clips, clips].mean() - scores[clips, orders].mean()
    middle, spread = null.mean(axis=0), null.std(axis=0, ddof=1)
    # rounding errors of an unused voxel are not a spread
    read = spread > 1e-6 * spread.max()
    scale = np.where(read, spread, 1.0)
    furthest = np.abs(np.where(read, (null - middle) / scale, 0.0)).max(axis=1)
    contribution = own - middle
    z = np.where(read, contribution / scale, 0.0)
    threshold = float(np.quantile(furthest, 1 - LEVEL, method="higher"))
    return BrainMap(contribution, z.astype(np.float32), threshold, float(match), len(windows))


def same_grid(path: Path, test: Cohort, model: Arrays) -> None:
    """Reject windows on another grid than that of the model.

    Args:
        path: of the windows, for the message.
        test: the windows.
        model: a file of `BrainReader.save`.

    Raises:
        UserError: the grids differ.
    """
    same = np.array_equal(test.voxels, model["grid.voxels"])
    if not (same and np.allclose(test.affine, model["grid.affine"])):
        raise UserError(path, "lies on other voxels than the model reads", "remake both")


def summary(found: BrainMap) -> dict[str, float]:
    """Summary values of the map, for `map.json`."""
    return {
        "n_clips": found.clips,
        "n_voxels": len(found.z),
        "match": round(found.match, 6),
        "total": round(found.total, 6),
        "threshold": round(found.threshold, 4),
        "n_above": int((found.z > found.threshold).sum()),
        "n_below": int((found.z < -found.threshold).sum()),
        "shuffles": SHUFFLES,
    }
