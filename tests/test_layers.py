"""Lower layers know nothing of upper ones; paths of science stay out of the workflow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = ("errors", "io", "provenance", "config")


def imports(path):
    """The top-level names of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_contracts_of_pyproject_hold():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_module_is_in_a_layer():
    said = (ROOT / "pyproject.toml").read_text()
    tops = {p.stem if p.is_file() else p.name for p in (ROOT / "llm4brain").glob("[a-z]*")}
    for name in tops:
        assert f"llm4brain.{name}" in said, f"llm4brain.{name} is in no layer"


@pytest.mark.parametrize("name", BASE)
def test_the_base_imports_no_torch(name):
    assert "torch" not in set(imports(ROOT / "llm4brain" / f"{name}.py"))


def test_the_package_knows_no_workflow_engine():
    for path in (ROOT / "llm4brain").rglob("*.py"):
        assert not {"snakemake", "dvc"} & set(imports(path)), path


def test_scripts_import_no_script():
    names = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for path in (ROOT / "scripts").glob("*.py"):
        # a script may be called as a library of Python is, e.g. table
        assert not {"scripts", *names} & set(imports(path)), path
