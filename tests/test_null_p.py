"""The p of table 1, by the code that writes it: of readings of noise, over seeds, and of true ones.

`score` gets what a decoder leaves, words and readings, and is asked for `cider_p`, `similarity_p`
and `top1_p`; only METEOR and Java's tokenizer, which no p depends on here, are left out.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_permutation import slow
from test_table import bag

from llm4brain.evaluate import captions
from llm4brain.evaluate.names import P_VALUES
from llm4brain.evaluate.retrieval import centred
from llm4brain.evaluate.scoring import score
from llm4brain.sections import EvaluateSettings

NAMES = [f"film-{f:02d}_{4 * i:06.1f}" for f in (1, 2) for i in range(40)]
SETTINGS = EvaluateSettings(n_bootstrap=2, n_permutations=199, meteor=False)
WHO, DOES = ("man", "dog", "cat", "robot"), ("runs", "sings", "sleeps", "eats")
WORDS = (WHO, DOES, ("park", "snow", "sea", "bus"))
SEEDS = 240


@pytest.fixture(autouse=True)
def _no_java(monkeypatch):
    monkeypatch.setattr(captions, "tokenise", lambda texts: [t.lower() for t in texts])


def say(readings):
    """A caption that is true to a reading: each word is the strongest of four components."""
    parts = readings.reshape(len(readings), 3, 4).argmax(axis=2)
    return [
        "a {} {} in the {}".format(*(w[k] for w, k in zip(WORDS, p, strict=True))) for p in parts
    ]


def p_values(seed, read):
    """p of a decoder that reads `read(rng, truth)` of clips whose truth changes slowly."""
    rng = np.random.default_rng(seed)
    truth = slow(rng, len(NAMES))
    readings = read(rng, truth)
    decoded = pd.DataFrame(
        {"clip_id": NAMES, "system": "model", "kind": "model", "text": say(readings)}
    )
    written = zip(NAMES, say(truth), strict=True)
    known = pd.DataFrame(
        [(name, text + end) for name, text in written for end in ("", " now")],
        columns=["clip_id", "caption"],
    )
    arrays = {"model": centred(readings), "truth": centred(truth)}
    arrays["norms"] = np.linalg.norm(arrays["truth"], axis=1)
    found = score(decoded, [(arrays, NAMES)], known, "01", bag, SETTINGS, seed)
    return [found.systems["model"][p] for p in P_VALUES]


def noise(rng, _truth):
    return slow(rng, len(NAMES))


def test_p_of_the_table_is_uniform_over_seeds_where_readings_are_noise():
    """Seeded, so it passes or fails for good; on other seeds, in about one of twenty times.

    Hits are counts, and an order that ties with the true one counts as high: p of top-1 is never
    more often small than uniform, but less often.
    """
    found = dict(zip(P_VALUES, np.array([p_values(s, noise) for s in range(SEEDS)]).T, strict=True))
    for metric in ("cider_p", "similarity_p"):
        assert stats.kstest(found[metric], "uniform").pvalue > 0.01, metric
    for metric, p in found.items():
        for level in (0.05, 0.2):
            more = (p <= level).mean() - level
            assert more < 2.6 * np.sqrt(level * (1 - level) / SEEDS), (metric, level)
    assert (found["top1_p"] <= 0.2).mean() > 0.05


def test_p_of_the_table_is_small_where_readings_are_true():
    found = np.array([p_values(s, lambda rng, truth: truth + noise(rng, truth)) for s in range(10)])
    assert (found == 1 / (1 + SETTINGS.n_permutations)).all()
