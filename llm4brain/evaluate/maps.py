"""Where in the brain: how much each voxel's BOLD adds to reading the right clip.

A reading matches a clip by their correlation,

    match(r, t) = <r, t> / (|r| |t|),     r, t centred as retrieval centres them     (1)

and voxel v adds to it what its surprise f_v is worth (what is left of it when its neighbours are
known, weighed by gate and adaptor: `align/reader.py`),

    a_v(i, j) = f_iv <w_v, t_j> / (|r_i| |t_j|)                                       (2)

for the reading of clip i and the tokens of clip j, w_v the voxel's readout: what the match loses
when the voxel's surprise is set to its mean, while the reading's length stays. The readout is
linear, so the voxels' parts add up to the match. The map is the mean over test clips of a_v(i, i),
less what the same readings get when blocks of clips change places, as for the p of table 1, so that
it is evidence for this clip and not for films at large. (A block now and then keeps its place, so
what is taken off holds a little of the clip's own: one part in as many as there are blocks.)

What it says and what not (Haufe et al. 2014, on filters and patterns). It is no map of weights: a
voxel that is read only to cancel the noise of another has a weight, but its own BOLD goes with no
clip, and over clips its part comes to nothing. Nor is it a map of where information lies: a voxel
that knows the clip and is not read, because others that are read know the same, has none. It says
what this decoder uses, of this subject, on these clips. It is as smooth as the BOLD and the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4brain.align.reader import BrainReader
from llm4brain.brain.cohort import Cohort
from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks
from llm4brain.evaluate.permutation import shuffles
from llm4brain.evaluate.retrieval import correlations
from llm4brain.io import Arrays

SHUFFLES = 999  # a voxel's null spread is then known to 2%; its z needs no more
LEVEL = 0.05  # of the threshold: the chance that any voxel without evidence passes it
BATCH = 16  # clips at a time


@dataclass(frozen=True)
class BrainMap:
    """What each voxel adds to the match, and how far that is from chance.

    Attributes:
        contribution: (voxels,) float32, share of a correlation; what shuffled clips give is taken
            off.
        z: (voxels,) float32, the same in standard deviations of its shuffles; 0 where nothing of
            the voxel is read.
        threshold: |z| that the furthest voxel of a shuffle passes in 5 of 100.
        match: mean correlation of a reading with its own clip, less that with shuffled clips.
        clips: how many test clips.
    """

    contribution: np.ndarray
    z: np.ndarray
    threshold: float
    match: float
    clips: int

    @property
    def total(self) -> float:
        """Sum over voxels: the match, but for what a reader that is not linear adds to it."""
        return float(self.contribution.sum(dtype=np.float64))


def brain_map(
    reader: BrainReader,
    windows: np.ndarray,
    clip_ids: Sequence[str],
    truth: np.ndarray,
    subject: str,
    seconds: float,
    seed: int,
) -> BrainMap:
    """The map of a subject's test clips.

    Args:
        reader: a trained one.
        windows: shape (clips, T, voxels), a window each test clip.
        clip_ids: their names.
        truth: shape (clips, D), their own video tokens.
        subject: label.
        seconds: length of the blocks that change places.
        seed: of the shuffles.

    Raises:
        UserError: windows are of other voxels or volumes than the model reads, or the clips make
            fewer than two blocks, which leaves nothing to change places with.
    """
    if windows.shape[2] != len(reader.agreement):
        wrong = f"are of {windows.shape[2]} voxels; the model reads {len(reader.agreement)}"
        raise UserError("windows", wrong, "remake features and model")
    block = blocks(clip_ids, seconds)
    if block.max() < 1:
        wrong = f"make no two blocks of {seconds:g} s, so there is no null"
        raise UserError("test clips", wrong, "lower evaluate.block, or test on more film")
    orders = shuffles(block, SHUFFLES, seed)

    centred = truth.astype(np.float64) - reader.basis.mean
    centred -= centred.mean(axis=1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(1e-12)
    written = reader.basis.axes * reader.basis.weights[:, None]  # (rank, D)
    axes = written - written.mean(axis=1, keepdims=True)
    aims = (unit @ axes.T).astype(np.float32)  # (clips, rank): (2) in the components' space

    own = np.zeros(windows.shape[2], dtype=np.float32)
    null = np.zeros((SHUFFLES, windows.shape[2]), dtype=np.float32)
    readings = []
    for i in range(0, len(windows), BATCH):
        rows = slice(i, i + BATCH)
        features, weight = reader.centred(windows[rows], subject)
        found = features @ weight
        length = np.linalg.norm(found @ axes, axis=1).clip(1e-12)
        scaled = features / (len(windows) * length)[:, None]
        # of one clip: its features times what their weights are worth for another's tokens
        own += np.einsum("bv,vb->v", scaled, weight @ aims[rows].T)
        for b in range(len(found)):
            null += scaled[b] * (aims[orders[:, i + b]] @ weight.T)
        readings.append(reader.query_tokens(found).reshape(len(found), -1))

    scores = correlations(np.concatenate(readings), truth, reader.basis.mean)
    clips = np.arange(len(scores))
    match = scores[clips, clips].mean() - scores[clips, orders].mean()
    middle, spread = null.mean(axis=0), null.std(axis=0, ddof=1)
    # what rounding leaves of a voxel that is not read is no spread
    read = spread > 1e-6 * spread.max()
    scale = np.where(read, spread, 1.0)
    furthest = np.abs(np.where(read, (null - middle) / scale, 0.0)).max(axis=1)
    contribution = own - middle
    z = np.where(read, contribution / scale, 0.0)
    threshold = float(np.quantile(furthest, 1 - LEVEL, method="higher"))
    return BrainMap(contribution, z.astype(np.float32), threshold, float(match), len(windows))


def same_grid(path: Path, test: Cohort, model: Arrays) -> None:
    """Refuse windows that lie elsewhere than what the model was trained on.

    Args:
        path: of the windows, for the message.
        test: the windows.
        model: a file of `BrainReader.save`.

    Raises:
        UserError: they do.
    """
    same = np.array_equal(test.voxels, model["grid.voxels"])
    if not (same and np.allclose(test.affine, model["grid.affine"])):
        raise UserError(path, "lies on other voxels than the model reads", "remake both")


def summary(found: BrainMap) -> dict[str, float]:
    """The map in a few figures, for `map.json`."""
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
