"""The table of docs/bad-input.md, from the tests that try the inputs.

A test marked `@pytest.mark.bad_input("events", "a broken link")` gives a row for each error that it
meets: the input, what is wrong with it (one text an error, in their order), and what is said.
`{name}` in a text stands for a parameter of the test, `{name.__doc__}` for the docstring of a
function that is one. The test fails if the page lacks the row. The table is written by

    python -m pytest -n0 -m bad_input --write-bad-input
"""

import re
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from llm4brain.errors import UserError, one_line

PAGE = Path(__file__).parent.parent / "docs" / "bad-input.md"
MARK = "<!-- from here on written by tests/bad_input.py -->\n"
HEAD = "\n| input | what is wrong | error | what to do |\n|---|---|---|---|\n"
ANEW = "docs/bad-input.md is out of date: python -m pytest -n0 -m bad_input --write-bad-input"
_rows: dict[str, str] = {}  # row -> kind of input


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Record the errors that a marked test meets."""
    if item.get_closest_marker("bad_input") is None:
        return (yield)
    met: dict[str, UserError] = {}
    start = UserError.__init__

    def noted(error: UserError, *about: object) -> None:
        start(error, *about)
        met.setdefault(str(error), error)

    with patch.object(UserError, "__init__", noted):
        result = yield
    kind, *faults = texts(item)
    assert len(faults) == len(met), f"{len(faults)} texts for these errors: {list(met)}"
    made = [row(item, kind, *pair) for pair in zip(faults, met.values(), strict=True)]
    _rows.update(dict.fromkeys(made, kind))
    if not item.config.getoption("--write-bad-input"):
        there = PAGE.read_text().splitlines()
        assert all(line in there for line in made), ANEW
    return result


def texts(item: pytest.Item) -> list[str]:
    """Kind of input and faults of a marked test, with its parameters filled in."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    shown = {name: _shown(value) for name, value in given.items()}
    return [text.format_map(shown) for text in item.get_closest_marker("bad_input").args]


def _shown(value: object) -> object:
    """Settings as a file would hold them; all else as it is."""
    if isinstance(value, dict):
        return yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return value


def row(item: pytest.Item, kind: str, fault: str, error: UserError) -> str:
    """The line of the table, without the folders and hashes of this machine."""
    base = re.escape(str(item.config._tmp_path_factory.getbasetemp()))
    folder = re.compile(rf"{base}/[^/ ]+/?")

    def here(text: str) -> str:
        return re.sub("[0-9a-f]{40,}|0x[0-9a-f]+", "HASH", folder.sub("", one_line(text)))

    where = here(error.where)
    where = Path(where).name if error.where.startswith("/") else where
    said = f"`` {where or 'folder'}: {here(error.wrong)} ``"
    cells = (kind, _escaped(fault), said.replace("|", "\\|"), _escaped(here(error.todo)))
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text of a cell; between backticks Markdown leaves all but `|` as it is."""
    return re.sub(r"\|" if "`" in text else r"[|*<]", r"\\\g<0>", text)


def left_over(items: Iterable[pytest.Item]) -> list[str]:
    """Rows of the page that no marked test gives."""
    given = set()
    for item in items:
        if item.get_closest_marker("bad_input"):
            kind, *faults = texts(item)
            given |= {f"| {kind} | {_escaped(fault)} | ``" for fault in faults}
    table = PAGE.read_text().split(MARK)[1].removeprefix(HEAD).splitlines()
    return [line for line in table if not line.startswith(tuple(given))]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page: what is written by hand, and the rows that were recorded."""
    if session.config.getoption("--write-bad-input"):
        kinds = list(dict.fromkeys(_rows.values()))
        table = sorted(_rows, key=lambda line: kinds.index(_rows[line]))
        kept = PAGE.read_text().split(MARK)[0]
        PAGE.write_text(kept + MARK + HEAD + "".join(f"{line}\n" for line in table))
