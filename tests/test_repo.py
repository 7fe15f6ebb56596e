"""What must hold of the files themselves."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llm4brain.cli import schema_text, settings_page

ROOT = Path(__file__).parent.parent
tracked = subprocess.run(
    ["git", "ls-files", "-z", "--cached"],
    cwd=ROOT, capture_output=True, text=True, check=True,
)  # fmt: skip
FILES = [ROOT / name for name in tracked.stdout.split("\0") if name and (ROOT / name).is_file()]
TEXT = [f for f in FILES if f.suffix not in {".png", ".jpg", ".gif", ".mp4", ".gz", ".safetensors"}]
CODE = [f for f in TEXT if f.suffix in {".py", ".smk"} or f.name == "Snakefile"]


def lines(paths):
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def test_no_file_is_longer_than_400_lines():
    long = {f.name: n for f in CODE if (n := len(f.read_text().splitlines())) > 400}
    assert not long


def test_no_file_is_larger_than_a_megabyte():
    assert not [f for f in FILES if f.stat().st_size > 2**20]


def test_no_registry_is_named():
    # Which one serves the packages is the user's own setting. The words are split for this file.
    hosts = re.compile("|".join(["pypi" r"\.org", "pytho" r"nhosted\.org", "pytorch" r"\.org/whl"]))
    named = [where for where, line in lines(TEXT) if hosts.search(line)]
    assert not named
    locks = [f for f in TEXT if f.name.startswith("requirements") or "envs" in f.parts]
    assert not [where for where, line in lines(locks) if re.search(r"https?://|^--", line)]


def test_no_path_of_one_machine():
    machine = re.compile(r"""(^|[\s="'(:])/(home|root|mnt|srv|work|Users|scratch)/""")
    assert not [where for where, line in lines(TEXT) if machine.search(line)]


def test_no_pickle_is_read_and_no_rule_runs_a_script_directive():
    unsafe = re.compile(
        r"pickle\.load|joblib\.load|allow_pickle=True|torch\.load\((?!.*weights_only=True)"
    )
    package = [f for f in CODE if "tests" not in f.parts]
    assert not [where for where, line in lines(package) if unsafe.search(line)]
    rules = [f for f in CODE if f.suffix == ".smk"]
    forbidden = re.compile(r"^\s*script:|lambda|directory\(|checkpoint ")
    assert not [where for where, line in lines(rules) if forbidden.search(line)]


def test_no_function_of_the_rules_takes_the_place_of_another():
    """All files of rules share one namespace, in which the later of two names wins silently."""
    text = "\n".join(f.read_text() for f in CODE if f.suffix == ".smk")
    named = Counter(re.findall(r"^def (\w+)", text, re.M))
    assert not [name for name, times in named.items() if times > 1]


def pinned():
    pattern = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;+]+)(\s*;.*)?$")
    found = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            match = pattern.match(line)
            assert match, f"{line} is no exact version (or a local build)"
            found[canonicalize_name(match[1])] = match[2]
    return found


@pytest.mark.parametrize("part", ["", "-workflow", "-dev"])
def test_the_lock_pins_every_requirement(part):
    versions = pinned()
    for line in (ROOT / f"requirements{part}.in").read_text().splitlines():
        wanted = line.split("#")[0].strip()
        if not wanted or wanted.startswith("-r"):
            continue
        requirement = Requirement(wanted)
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"{wanted} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version), f"{wanted}: the lock has {version}"


def test_the_page_of_settings_is_in_step():
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings_page(), "run: llm4brain settings > docs/settings.md"


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    assert len(targets) > 8
    assert not [t for t in targets if not (ROOT / t).exists()]


def test_the_readme_opens_with_the_two_commands():
    opening = (ROOT / "README.md").read_text().split("\n## ")[0]
    assert opening.index("make run") < opening.index("make test")


def test_check_holds_for_the_default():
    command = [sys.executable, "-m", "llm4brain.cli", "check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "packages: ok" in done.stdout


def test_check_says_what_is_missing_on_one_line(tmp_path):
    over = tmp_path / "over.yaml"
    over.write_text("dataset: bids\nbids_dir: nowhere\npreprocess: {backend: fmriprep}\n")
    files = [word for f in ("config.yaml", over) for word in ("--configfile", str(f))]
    command = [sys.executable, "-m", "llm4brain.cli", "check", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nowhere: is not a BIDS data set" in done.stderr
    assert "FreeSurfer licence" in done.stderr


def test_the_schema_is_in_step_and_every_shipped_file_names_it():
    schema = ROOT / "configs" / "schema.json"
    assert schema.read_text() == schema_text()  # llm4brain schema > configs/schema.json
    for path in (ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))):
        named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
        assert (path.parent / named[1]).resolve() == schema, path


def test_rules_are_formatted():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "rules"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_environment_is_made_from_the_lock():
    made = {p.name: p.read_text() for p in (ROOT / "envs").iterdir() if p.suffix != ".sh"}
    assert set(made) == {"llm4brain.yaml", "llm4brain.def", "Dockerfile"}
    for name, text in made.items():
        assert "requirements.lock" in text, name
        assert re.search(r"python[=:]3\.11", text), name
        # nothing beside the lock: no package is named on its own
        assert not re.search(r"pip install (?!--no-cache-dir -r)", text), name
    assert "-r requirements.lock" in (ROOT / "Makefile").read_text()
