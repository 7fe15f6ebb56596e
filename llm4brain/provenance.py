"""What made a result: a fingerprint of the code it used, versions, settings, seed."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
REPORTED = ("torch", "transformers", "peft", "numpy", "scikit-learn", "nilearn", "snakemake")


def _bare(tree: ast.AST) -> str:
    """The syntax tree as text, without comments, docstrings and positions."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _file(module: str) -> Path | None:
    """The file of `llm4brain.x.y`, found without importing it."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """A file's bare code and the package's modules that it names in imports."""
    tree = ast.parse(path.read_text())
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.add(node.module)
            named.update(f"{node.module}.{alias.name}" for alias in node.names)
    inside = sorted(n for n in named if n.split(".")[0] == "llm4brain" and _file(n))
    return _bare(tree), tuple(inside)


def fingerprint(*sources: str) -> str:
    """Hash the code of `sources` and all of the package that they import, transitively.

    Args:
        sources: modules of the package (`llm4brain.align.fit`) or paths of scripts.

    Returns:
        12 hexadecimal digits that an edit of a used statement changes, and an edit of a
        comment, a docstring or an unrelated module does not.
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
    for path in sorted(seen, key=lambda p: p.name if p.parent == PACKAGE else str(p)):
        digest.update(path.name.encode() + b"\0" + seen[path].encode() + b"\0")
    return digest.hexdigest()[:12]


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(settings: Any, code: str, seed: int) -> dict[str, Any]:
    """What each result carries: settings, code fingerprint, versions, seed.

    No time and no machine, so that the same run gives the same bytes.
    """
    versions = {name: importlib.metadata.version(name) for name in REPORTED}
    return {"settings": settings, "code": code, "seed": seed, "versions": versions}
