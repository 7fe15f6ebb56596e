"""Hooks of mkdocs: pages of docs/ link to files outside it, which the site needs too.

Links are written as a code host follows them, from the file they are in. Here the Markdown files of
`PAGES` become pages under project/, and any other file that is linked becomes a section of
files.md. A link to a file that does not exist stays as it is, and the strict build refuses it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md")
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
DOCSTRING = re.compile(r"^## (\w+)\n\n.*\n\n\[.*\]\(\.\./(llm4brain/[\w/]+)\.py\)$", re.M)


def on_files(files, config):
    """Add the pages that are made of files outside docs/."""
    texts = {f"docs/{f.src_uri}": f.content_string for f in files.documentation_pages()}
    texts |= {name: (ROOT / name).read_text() for name in PAGES}
    linked = {}
    for name, text in texts.items():
        for target in LINK.findall(documented(text)):
            path = in_repository(name, target[0])
            if not path.startswith("docs/") and path not in PAGES and (ROOT / path).is_file():
                linked[path] = (ROOT / path).read_text()
    page = ["# Files of the repository", "The files that other pages link to."]
    for path, text in sorted(linked.items()):
        language = {".py": "python", ".yaml": "yaml"}.get(Path(path).suffix, "")
        page.append(f"## {path} {{ #{anchor(path)} }}\n\n````{language}\n{text.strip()}\n````")
    files.append(File.generated(config, "files.md", content="\n\n".join(page) + "\n"))
    for name in PAGES:
        files.append(File.generated(config, f"project/{name}", content=texts[name]))
    return files


def on_page_markdown(markdown, page, **_):
    """Point links at the pages of the site, and put docstrings in the place of links to them."""
    name = page.file.src_uri
    source = name.removeprefix("project/") if name.startswith("project/") else f"docs/{name}"
    if name == "files.md":
        return markdown

    def link(found):
        target = place_of(in_repository(source, found[1]), found[2] or "")
        return f"]({posixpath.relpath(target, posixpath.dirname(name) or '.')})"

    return LINK.sub(link, documented(markdown))


def on_page_content(html, **_):
    """A code host takes the backslash from `a\\|b` in a table; Markdown of Python keeps it."""
    return re.sub(r"<code>[^<]*</code>", lambda m: m[0].replace("\\|", "|"), html)


def documented(markdown):
    """With mkdocstrings' directive in place of a section that links to the module of its name."""
    return DOCSTRING.sub(lambda m: f"::: {m[2].replace('/', '.')}.{m[1]}", markdown)


def in_repository(source, target):
    """Path from the root of the repository, of a link in a file."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def place_of(path, fragment):
    """Where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/") + fragment
    if path in PAGES:
        return f"project/{path}{fragment}"
    return f"files.md#{anchor(path)}" if (ROOT / path).is_file() else f"../{path}"


def anchor(path):
    return re.sub(r"\W+", "-", path.lower()).strip("-")
