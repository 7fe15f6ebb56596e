"""Models of the hub, by its own client against a stand-in: one commit, safetensors, one line."""

import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from hub_stand_in import ABSENT, GATED, REPOSITORY, Hub, serving

from llm4brain import cli
from llm4brain.config import load
from llm4brain.errors import UserError
from llm4brain.hub import warning
from llm4brain.io import read_json
from llm4brain.ready import unpinned
from llm4brain.sources import resolve

OLD, NEW = "a" * 40, "b" * 40
FILES = {
    "config.json": b'{"model_type": "blip-2"}',
    "model.safetensors": b"old weights",
    "pytorch_model.bin": b"pickled",
    "modeling.py": b"raise SystemExit",
    "qformer_tokenizer/tokenizer.json": b"{}",
}
KEPT = {"config.json", "model.safetensors", "qformer_tokenizer/tokenizer.json"}


def at(monkeypatch, url):
    """Let the client find the hub there."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    commits = {OLD: dict(FILES), NEW: FILES | {"model.safetensors": b"new weights"}}
    with serving(Hub(commits, {"main": OLD})) as served:
        at(monkeypatch, served.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield served


def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def source(revision: str = "") -> str:
    return f"hub:{REPOSITORY}{revision and '@'}{revision}"


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_commit_gives_its_safetensors_and_text_and_no_code(tmp_path, hub):
    resolve(source(NEW), tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == KEPT | {"hub.json", "sha256.json"}
    assert weights(tmp_path / "out") == b"new weights"
    assert not [path for path in hub.asked if path.endswith((".bin", ".py"))]


def test_what_others_left_in_the_cache_is_not_copied(tmp_path, hub, monkeypatch):
    resolve(source(OLD), tmp_path / "out")
    snapshot = next((tmp_path / "cache").rglob("snapshots")) / OLD
    (snapshot / "pytorch_model.bin").write_bytes(b"pickled")
    offline(monkeypatch)
    resolve(source(OLD), tmp_path / "again")
    assert not list((tmp_path / "again").glob("*.bin"))
    assert weights(tmp_path / "again") == b"old weights"


@pytest.mark.parametrize("revision", ["main", ""])
def test_the_commit_of_a_branch_is_recorded_and_taken_again(tmp_path, hub, revision):
    resolve(source(revision), tmp_path / "out")
    assert read_json(tmp_path / "out" / "hub.json") == {
        "repository": REPOSITORY,
        "revision": "main",
        "commit": OLD,
    }
    hub.branches["main"] = NEW
    (tmp_path / "out" / "config.json").unlink()  # as a workflow that makes it anew does
    shutil.rmtree(tmp_path / "cache")
    resolve(source(revision), tmp_path / "out")
    assert weights(tmp_path / "out") == b"old weights"
    resolve(source(revision), tmp_path / "other")
    assert weights(tmp_path / "other") == b"new weights"
    resolve(source(NEW), tmp_path / "out")  # another revision is wanted: the record is not of it
    assert weights(tmp_path / "out") == b"new weights"


def test_offline_the_cache_serves_commits_and_branches(tmp_path, hub, monkeypatch):
    resolve(source("main"), tmp_path / "first")
    hub.branches["main"] = NEW
    asked = len(hub.asked)
    offline(monkeypatch)
    for revision in ("main", OLD):
        resolve(source(revision), tmp_path / revision)
        assert weights(tmp_path / revision) == b"old weights"
    assert len(hub.asked) == asked
    with pytest.raises(UserError, match=r"no network \(HF_HUB_OFFLINE is set\)"):
        resolve(source(NEW), tmp_path / "new")


def test_a_part_of_a_snapshot_is_no_model(tmp_path, hub, monkeypatch):
    resolve(source(OLD), tmp_path / "first")
    next((tmp_path / "cache").rglob("snapshots")).joinpath(OLD, "model.safetensors").unlink()
    offline(monkeypatch)
    with pytest.raises(UserError, match="the cache does not hold all of it"):
        resolve(source(OLD), tmp_path / "out")


@pytest.mark.bad_input("models", "a shard of the weights is missing")
def test_a_shard_that_is_missing_is_named(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model-1.safetensors").write_text("")
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"lacks model-2\.safetensors"):
        resolve(f"path:{model}", tmp_path / "out")


def one_line(tmp_path, revision, words):
    with pytest.raises(UserError, match=words) as caught:
        resolve(source(revision), tmp_path / "made" / "out")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("hub:org/model")
    assert list((tmp_path / "made").iterdir()) == []


def test_what_the_hub_refuses_is_one_line(tmp_path, hub):
    one_line(tmp_path, "nowhere", "no such revision; correct what stands behind the @")
    one_line(tmp_path, "c" * 40, "no such revision")
    hub.manner = GATED
    one_line(tmp_path, "main", "it is gated; accept its terms")
    hub.manner = ABSENT
    one_line(tmp_path, "main", "no such repository")


@pytest.mark.bad_input("models", "no network, and the model was not fetched before")
def test_no_network_is_one_line(tmp_path, hub, monkeypatch):
    at(monkeypatch, "http://127.0.0.1:9")
    one_line(tmp_path, "main", "no network, and the cache")


@pytest.mark.bad_input("models", "pickled weights alone")
def test_pickled_weights_alone_are_one_line(tmp_path, hub):
    del hub.commits[OLD]["model.safetensors"]
    one_line(tmp_path, OLD, r"holds no \*\.safetensors; pickled weights are not read")


def test_a_source_without_a_commit_is_said_before_the_first_job(tmp_path, hub):
    assert warning(source(OLD), tmp_path) is None
    assert warning("pypi:a==1", tmp_path) is None
    assert "names no commit" in warning(source("main"), tmp_path)
    resolve(source("main"), tmp_path / "out")
    assert f"write {source(OLD)}" in warning(source("main"), tmp_path / "out")


def test_the_shipped_settings_name_commits():
    shipped = [[], *([path] for path in sorted((ROOT / "configs").glob("*.yaml")))]
    for more in shipped:
        assert list(unpinned(load(ROOT / "config.yaml", *more))) == [], more


def test_check_warns_of_a_branch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_environment", lambda _: [])
    over = tmp_path / "over.yaml"
    over.write_text("video_llm: {source: 'hub:org/name@main'}\n")
    cli.check([ROOT / "config.yaml", over])
    assert capsys.readouterr().err.startswith("warning: hub:org/name@main: names no commit")
