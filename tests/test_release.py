"""A trained model leaves its workflow, loads again, and reads a run that it is given."""

import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from peft import PeftModel
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from llm4brain.cli import app
from llm4brain.errors import UserError
from llm4brain.io import read_json, read_table, write_json
from llm4brain.release.decoder import BrainDecoder, moments, run_of
from llm4brain.tune.null_inputs import phase_randomised

FUNC = "data/derivatives/minimal/sub-01/func"


@pytest.fixture(scope="module")
def exported(tiny_run, tiny_settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "model"
    files = [w for f in (ROOT / "config.yaml", tiny_settings) for w in ("--configfile", str(f))]
    done = CliRunner().invoke(app, ["export", str(out), "--directory", str(tiny_run), *files])
    assert done.exit_code == 0, done.output
    return out


def bold(tiny_run):
    return sorted((tiny_run / FUNC).glob("*_desc-preproc_bold.nii.gz"))[0]


def decode(*arguments):
    done = CliRunner().invoke(app, ["decode", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_card_is_filled_from_the_run(exported, tiny_run):
    card = (exported / "README.md").read_text()
    assert "simulated data" in card
    metrics = read_json(tiny_run / "results/full/all/sub-01/metrics.json")
    assert metrics["references_sha256"][:12] in card
    assert "{" not in card
    listed = read_json(exported / "sha256.json")
    assert {"adapter_model.safetensors", "reader.safetensors", "settings.json"} <= set(listed)


def test_peft_and_transformers_load_it(exported):
    base = AutoModelForImageTextToText.from_pretrained(exported / "video_llm")
    adapted = PeftModel.from_pretrained(base.language_model, exported)
    assert any("lora" in name for name, _ in adapted.named_parameters())
    model = BrainDecoder.from_pretrained(exported)
    assert model.known.shape[1] == len(model.reader.basis.axes)
    assert model.volumes == 2
    assert model.reader.volumes == 1  # the encoder sees the window's mean


def test_a_run_is_read_every_few_seconds(exported, tiny_run, tmp_path):
    out = tmp_path / "captions.tsv"
    given = ("--model", exported, "--bold", bold(tiny_run), "--out", out)
    status, said = decode(*given, "--interval", 4, "--subject", "01")
    assert status == 0, said
    table = read_table(out)
    assert list(table) == ["onset", "duration", "caption", "valid", "match", "p_noise"]
    assert len(table) > 8
    np.testing.assert_allclose(np.diff(table["onset"]), 4)
    assert table["p_noise"].between(0.001, 1).all()
    assert table["match"].between(-1, 1).all()


def test_the_tutorial_runs_from_start_to_end(exported, tiny_run, tmp_path, monkeypatch):
    (tmp_path / "my-model").symlink_to(exported)
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(tiny_run / name)
    monkeypatch.chdir(tmp_path)
    page, found = (ROOT / "docs" / "python-api.md").read_text(), {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, found)
    assert len(found["captions"]) == found["scores"]["n_clips"] == 10
    assert found["read"].shape == (240, 5)
    assert found["surprise"].shape == found["output"].pred.shape[:1] + found["windows"].shape[1:]


def test_events_say_when(exported, tiny_run, tmp_path):
    run, out = bold(tiny_run), tmp_path / "captions.tsv"
    stem = run.name.split("_space-")[0]
    events = tiny_run / "data/phantom/sub-01/func" / f"{stem}_events.tsv"
    status, said = decode("--model", exported, "--bold", run, "--events", events, "--out", out)
    assert status == 0, said
    film = read_table(events).iloc[0]
    table = read_table(out)
    assert table["onset"].iloc[0] == film["onset"]
    assert len(table) == film["duration"] / 4


def test_when_to_read(tmp_path):
    events = tmp_path / "events.tsv"
    events.write_text("onset\tduration\n2\t9\n20\tn/a\n")
    np.testing.assert_allclose(moments(events, None, 4.0, 30.0), [2, 6, 20])
    np.testing.assert_allclose(moments(None, 5.0, 4.0, 12.0), [0, 5, 10])
    with pytest.raises(UserError, match="row 3 has no onset within the run, which ends at 10 s"):
        moments(events, None, 4.0, 10.0)
    for both in ((events, 4.0), (None, None)):
        with pytest.raises(UserError, match=r"events and interval: are (both given|missing)"):
            moments(*both, 4.0, 30.0)
    with pytest.raises(UserError, match="is 0"):
        moments(None, 0.0, 4.0, 30.0)


def test_noise_of_the_runs_own_kind_keeps_space_and_time_and_no_moment():
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.normal(size=(200, 3)), axis=0) @ rng.normal(size=(3, 20))
    turned = phase_randomised(slow, 1)
    np.testing.assert_allclose(np.cov(turned.T), np.cov(slow.T), rtol=0.02, atol=0.05)
    power = [np.abs(np.fft.rfft(x - x.mean(0), axis=0)) for x in (slow, turned)]
    np.testing.assert_allclose(power[1][1:-1], power[0][1:-1], rtol=1e-3, atol=1e-3)
    assert abs(np.corrcoef(slow.ravel(), turned.ravel())[0, 1]) < 0.5
    assert not np.allclose(turned, phase_randomised(slow, 2))


def test_p_is_a_share_and_the_same_twice(exported, tiny_run, tmp_path):
    out = tmp_path / "captions.tsv"
    given = ("--model", exported, "--bold", bold(tiny_run), "--interval", 4, "--out", out)
    assert decode(*given)[0] == 0
    p = read_table(out)["p_noise"]
    assert p.between(0.001, 1).all()
    again = tmp_path / "again.tsv"
    assert decode(*given[:-1], again)[0] == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_cannot_be_read_is_one_line(exported, tiny_run, tmp_path):
    run = bold(tiny_run)
    with pytest.raises(UserError, match="does not end in _desc-preproc_bold"):
        run_of(tiny_run / "results/table1.csv")
    shutil.copy(run, tmp_path / run.name)
    with pytest.raises(UserError, match=r"desc-brain_mask.*: is missing"):
        run_of(tmp_path / run.name)
    out = tmp_path / "captions.tsv"
    status, said = decode(
        "--model", exported, "--bold", run, "--interval", 4, "--out", out, "--subject", "sub-01"
    )
    assert status == 1
    assert "subject sub-01: is not a subject of the training (01, 02)" in said
    status, said = decode("--model", tmp_path, "--bold", run, "--interval", 4, "--out", out)
    assert status == 1
    assert "is not an exported model" in said
    assert not out.exists()


def test_a_run_of_another_tr_is_one_line(exported, tiny_run, tmp_path):
    """Another number of volumes in a window would be another mean."""
    run = bold(tiny_run)
    stem = run.name.removesuffix("_desc-preproc_bold.nii.gz")
    for path in run.parent.glob(f"{stem.split('_space-')[0]}_*"):
        shutil.copy(path, tmp_path / path.name)
    sidecar = tmp_path / f"{stem}_desc-preproc_bold.json"
    write_json(sidecar, read_json(sidecar) | {"RepetitionTime": 4.0})
    image = nib.load(tmp_path / run.name)
    image.header.set_zooms((*image.header.get_zooms()[:3], 4.0))
    nib.save(image, tmp_path / "slow.nii.gz")
    (tmp_path / "slow.nii.gz").rename(tmp_path / run.name)
    out = tmp_path / "captions.tsv"
    given = ("--model", exported, "--bold", tmp_path / run.name, "--interval", 4, "--out", out)
    status, said = decode(*given)
    assert status == 1
    assert "has 1 volumes per window at its TR of 4 s; the model reads 2" in said


def test_a_model_that_was_not_trained_is_one_line(tmp_path):
    files = ["--configfile", str(ROOT / "config.yaml"), "--directory", str(tmp_path)]
    done = CliRunner().invoke(app, ["export", str(tmp_path / "out"), *files])
    assert done.exit_code == 1
    assert "adapt.safetensors: is missing" in done.output
    assert not (tmp_path / "out").exists()
