"""Render the page: template, style and script in one file that works without a network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def render(**parts: Any) -> str:
    """Fill the template.

    All values are escaped. The page has a Content-Security-Policy that allows only this style and
    this script, by their hashes, and loads nothing, so HTML in a caption is shown as text.

    Args:
        parts: variables of `report.html`.
    """
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_own(f"report.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    template = templates.get_template("report.html")
    return template.render(style=style, script=script, policy=policy, **parts)


def look() -> str:
    """Fingerprint of the templates (12 hex digits), which the code fingerprint does not cover."""
    digest = hashlib.sha256()
    for path in sorted(TEMPLATES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _own(name: str) -> Markup:
    """A file of the package that is inserted unchanged."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
