"""The page itself: template, style and script in one file that asks nothing of a network."""

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

    All that is filled in is escaped, and the page's own policy (a Content-Security-Policy) lets
    only this style and this script have an effect, by their hashes, and nothing be loaded: a
    caption that holds HTML stays a caption.

    Args:
        parts: what `report.html` names.
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
    """A fingerprint of the templates, which that of the code does not cover: 12 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(TEMPLATES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _own(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
