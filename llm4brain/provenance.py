"""Provenance of a result: a fingerprint of the code that it used, versions, settings and seed."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
# Each step gets its own settings by value, so the code that validates them changes no result.
# The package's __init__ holds the version, whose change alone is not a change of code.
BY_VALUE = {"llm4brain.config", "llm4brain.sections", "llm4brain"}
REPORTED = ("torch", "transformers", "peft", "numpy", "scikit-learn", "nilearn", "snakemake")


def _file(module: str) -> Path | None:
    """The file of `llm4brain.x.y`, found without importing it."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """The code of a file as text, and the modules of this package that it imports.

    The text is without comments, docstrings and layout.
    """
    tree = ast.parse(path.read_text())
    inside = path.is_relative_to(PACKAGE)
    own = path.relative_to(PACKAGE.parent).with_suffix("").parts if inside else ()
    named: set[str] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = own[: len(own) - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            named.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
        elif isinstance(body, list) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]  # type: ignore[attr-defined]
    # Importing a.b.c also runs a/__init__.py and a/b/__init__.py.
    named |= {".".join(n.split(".")[:k]) for n in named for k in range(1, n.count(".") + 1)}
    ours = {n for n in named if n.split(".")[0] == "llm4brain" and _file(n)}
    # unlike ast.dump, unparse is mostly the same across versions of Python
    return ast.unparse(tree), tuple(sorted(ours - BY_VALUE))


def _name(path: Path) -> str:
    """A file's name, wherever the project is: `llm4brain/io.py`, or the name of a script."""
    inside = path.is_relative_to(PACKAGE)
    return path.relative_to(PACKAGE.parent).as_posix() if inside else path.name


def fingerprint(*sources: str) -> str:
    """Hash the code of `sources` and of all modules of the package that they import, transitively.

    Args:
        sources: modules of the package (`llm4brain.align.fit`) or paths of scripts.

    Returns:
        12 hexadecimal digits. They change if the code of a used module changes, but not with
        comments, docstrings, layout or unrelated modules.
    """
    waiting = [Path(s) if s.endswith(".py") else _file(s) for s in sources]
    if None in waiting:
        raise ValueError(f"no such module among {sources}")
    seen: dict[Path, str] = {}
    while waiting:
        path = waiting.pop()
        if path is None or path in seen:
            continue
        code, imports = _read(path)
        seen[path] = code
        waiting += [_file(name) for name in imports]
    digest = hashlib.sha256()
    named = {_name(path): code for path, code in seen.items()}
    for name in sorted(named):
        digest.update(f"{name}\0{named[name]}\0".encode())
    return digest.hexdigest()[:12]


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(settings: Any, code: str, seed: int) -> dict[str, Any]:
    """Metadata of each result: settings, code fingerprint, versions, seed.

    Time and host name are not included, so that the same run gives the same bytes.
    """
    versions = {}
    for name in REPORTED:
        with suppress(importlib.metadata.PackageNotFoundError):  # Snakemake is an extra
            versions[name] = importlib.metadata.version(name)
    return {"settings": settings, "code": code, "seed": seed, "versions": versions}
