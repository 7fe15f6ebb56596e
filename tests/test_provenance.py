"""The fingerprint of code: what a script uses changes it, and nothing else does."""

import hashlib
import json
from pathlib import Path

import pytest

from llm4brain import provenance

ROOT = Path(__file__).parent.parent

PACKAGE = {
    "__init__.py": "",
    "config.py": "DEFAULT = 1\n",
    "used.py": (
        '"""Doc."""\nfrom llm4brain.deep import far\n\n'
        'def f(x):\n    """Doc."""\n    return far.g(x)\n'
    ),
    "deep/__init__.py": "",
    "deep/far.py": "from . import near\n\ndef g(x):\n    return near.h(x)\n",
    "deep/near.py": "def h(x):\n    return x + 1  # why\n",
    "unrelated.py": "def k(x):\n    return x\n",
}
SCRIPT = "from llm4brain.config import DEFAULT\nfrom llm4brain.used import f\n\nprint(f(DEFAULT))\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own, and a function that edits a file of it and takes the fingerprint."""
    for name, text in PACKAGE.items():
        path = tmp_path / "llm4brain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "step.py").write_text(SCRIPT)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "llm4brain")

    def taken(name=None, old="", new=""):
        if name:
            path = tmp_path / name
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        provenance._read.cache_clear()
        return provenance.fingerprint(str(tmp_path / "step.py"))

    yield taken
    provenance._read.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("step.py", "f(DEFAULT)", "f(2)"),
        ("llm4brain/used.py", "far.g(x)", "far.g(2 * x)"),
        ("llm4brain/deep/far.py", "near.h(x)", "near.h(-x)"),
        ("llm4brain/deep/near.py", "x + 1", "x + 2"),
        ("llm4brain/deep/__init__.py", "", "SIDE_EFFECT = 1\n"),
    ],
)
def test_an_edit_of_what_is_used_changes_it(package, name, old, new):
    assert package() != package(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("llm4brain/used.py", '"""Doc."""', '"""Another."""'),
        ("llm4brain/used.py", '    """Doc."""\n', ""),
        ("llm4brain/deep/near.py", "# why", "# for another reason"),
        ("llm4brain/deep/near.py", "return x + 1", "\n    return (x\n            + 1)"),
        ("llm4brain/unrelated.py", "return x", "return 7"),
        ("llm4brain/config.py", "1", "2"),
        ("step.py", "print", "# said to the log\nprint"),
    ],
)
def test_an_edit_of_anything_else_does_not(package, name, old, new):
    assert package() == package(name, old, new)


def test_it_does_not_depend_on_where_the_project_lies(package, tmp_path, monkeypatch):
    here = package()
    there = tmp_path / "zz" / "clone"
    there.mkdir(parents=True)
    (tmp_path / "llm4brain").rename(there / "llm4brain")
    (tmp_path / "step.py").rename(there / "step.py")
    monkeypatch.setattr(provenance, "PACKAGE", there / "llm4brain")
    assert provenance.fingerprint(str(there / "step.py")) == here
    monkeypatch.chdir(there)
    assert provenance.fingerprint("step.py") == here


def test_every_script_has_one():
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    taken = {provenance.fingerprint(str(path)) for path in scripts}
    assert len(taken) == len(scripts) > 15
    assert provenance.fingerprint("llm4brain.training") not in taken


def test_a_record_has_no_time_and_no_machine():
    one = provenance.record({"a": 1}, "abc", 3)
    assert one == provenance.record({"a": 1}, "abc", 3)
    assert set(one) == {"settings", "code", "seed", "versions"}
    json.dumps(one)


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert provenance.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
