"""Imported once by the process from which dry runs are forked (`conftest.planned`)."""

from pathlib import Path

import snakemake.cli  # noqa: F401

import llm4brain.ready  # noqa: F401
from llm4brain.provenance import fingerprint

for script in (Path(__file__).parent.parent / "scripts").glob("*.py"):
    fingerprint(str(script))  # keeps each module's
