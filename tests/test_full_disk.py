"""A disk that fills is one line with the file; nothing half-written stays (real, small disks)."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

from llm4brain import hub, io, sources
from llm4brain.align import features
from llm4brain.checkpoint import Checkpoint
from llm4brain.errors import one_line_errors

SIZE = 2**15  # bytes of the disk
NOISE = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)  # does not compress
TOLD = r"error: {}[^:]*: cannot be written: the disk is full; free space on it and run again\n"


@pytest.fixture
def disk(tmp_path):
    """A folder on a real disk of 32 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here (which takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def table(folder):
    io.write_table(folder / "a.tsv", pd.DataFrame({"text": ["word" * SIZE]}))


def json(folder):
    io.write_json(folder / "a.json", "word" * SIZE)


def arrays(folder):
    io.write_arrays(folder / "a.safetensors", {"a": NOISE})


def streamed(folder):
    parts = [("a", NOISE[: SIZE // 2]), ("a", NOISE[SIZE // 2 :])]
    io.stream_arrays(folder / "a.safetensors", {"a": ("uint8", NOISE.shape)}, parts)


def figure(folder):
    from llm4brain.training import save_log

    rows = {"epoch": range(30), "loss": NOISE[:30] / 1.0, "best": [True] * 30}
    save_log(pd.DataFrame(rows), folder / "a.csv", folder / "a.png", "title")


def volumes(folder):
    from llm4brain.preprocess.images import write

    write(folder / "a.nii.gz", NOISE.astype(float).reshape(32, 32, 1, 32), np.eye(4), 2.0)


def image(folder):
    import nibabel as nib

    from llm4brain.evaluate.volumes import save_image

    save_image(nib.Nifti1Image(NOISE.reshape(32, 32, 32), np.eye(4)), folder / "a.nii.gz")


def scans(folder):
    from llm4brain.phantom.scans import write_nifti

    write_nifti(folder / "a.nii.gz", NOISE.astype(np.int16).reshape(32, 32, 32), np.eye(4))


def grayordinates(folder):
    import nibabel as nib
    from cifti_data import axis

    from llm4brain.evaluate.grayordinates import save_scalars

    brain = axis()
    rows = np.resize(NOISE, (60, len(brain))).astype(np.float32)
    scalars = nib.cifti2.ScalarAxis([str(i) for i in range(60)])
    save_scalars(nib.Cifti2Image(rows, (scalars, brain)), folder / "a.dscalar.nii")


def film(folder):
    from llm4brain.phantom.films import write_film

    shown = (np.roll(NOISE, 7 * k)[: 3 * 64 * 64].reshape(64, 64, 3) for k in range(40))
    write_film(folder / "a.mp4", map(Image.fromarray, shown), 5.0, 5)


def checkpoint(folder):
    Checkpoint(folder / "made", []).save(1, {"a": torch.from_numpy(NOISE)}, [])


def lora(folder):
    from peft import LoraConfig, get_peft_model

    from llm4brain.tune.lora import save_lora

    model = torch.nn.Sequential(torch.nn.Linear(99, 99))
    peft = get_peft_model(model, LoraConfig(r=64, target_modules=["0"]))
    save_lora(peft, folder / "made", "base")


def model(folder):
    with sources.whole_folder(folder / "made") as made:
        hub.copied(ROOT / "docs" / "img", made)


def paraphrases(folder):
    from llm4brain.evaluate.java import filter_paraphrases

    filter_paraphrases(["the people want to see many other things because of it"], folder / "a.gz")


WRITERS = [table, json, arrays, streamed, figure, volumes, image, scans, grayordinates, film]
WRITERS += [checkpoint, lora, model, paraphrases]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_disk_that_fills_is_one_line_and_leaves_nothing_half_written(disk, capsys, write):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        write(disk)
    assert stop.value.code == 1
    assert re.fullmatch(TOLD.format(disk), capsys.readouterr().err)
    assert [p.name for p in disk.rglob("*") if p.is_file() and p.suffix != ".csv"] == []


def test_the_disk_of_temporary_files_is_told(disk, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    monkeypatch.setattr(features, "HELD", SIZE)
    with pytest.raises(SystemExit), one_line_errors():
        features.allocate(2, SIZE)
    said = rf"error: {disk}: has no .* GB for features \(.*\); point TMPDIR elsewhere\n"
    assert re.fullmatch(said, capsys.readouterr().err)
    with pytest.raises(SystemExit), one_line_errors(), io.scratch("some") as folder:
        (folder / "a").write_bytes(NOISE.tobytes() * 2)
    said = f"error: TMPDIR ({disk}): cannot be written: the disk is full"
    assert capsys.readouterr().err.startswith(said)
    assert list(disk.iterdir()) == []


def test_no_disk_for_temporary_files_at_all_is_one_line(disk, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(disk)])
    (disk / "a").write_bytes(NOISE.tobytes())
    with pytest.raises(SystemExit), one_line_errors():
        tempfile.gettempdir()
    said = "error: folders of temporary files: cannot be written"
    assert capsys.readouterr().err.startswith(said)


def test_log_and_output_on_one_full_disk(disk, tmp_path):
    """A script of the pipeline as a job: its line goes to the terminal."""
    (disk / "fill").write_bytes(b"0" * SIZE)
    job = f"exec 3>&2; export LLM4BRAIN_TERMINAL=/proc/$$/fd/3; {sys.executable} "
    job += f"{ROOT}/scripts/pretraining_tr.py --bold {tmp_path}/bold.safetensors "
    job += f"--out {disk}/tr.json > {disk}/log 2>&1"
    io.write_arrays(tmp_path / "bold.safetensors", {"a": np.zeros(1)}, {"runs": {"1": {"tr": 2.0}}})
    told = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", job], capture_output=True, text=True, env=told)
    assert done.returncode
    assert re.fullmatch(TOLD.format(disk), done.stderr)
    assert sorted(p.name for p in disk.iterdir()) == ["fill", "log"]


# Calls that write a file
WRITES = {"write_text", "write_bytes", "save_file", "savefig", "to_csv", "save_pretrained"}
WRITES |= {"copy", "copy2", "copyfile", "copytree", "to_filename", "extractall", "copied"}
SAFE = {"atomic_write", "whole_folder", "scratch", "needs_space"}
# Called within `whole_folder`
INSIDE = {"learn.save", "sources.convert_gguf", "sources.unpack", "sources._from_path"}
INSIDE |= {"sources._from_pypi", "hub.copied", "hub.fetch"}


def name(call):
    if isinstance(call, ast.Call):
        return getattr(call.func, "attr", getattr(call.func, "id", None))
    return None


def unsafe(node, safe=False, inside=""):
    """Functions of a module that write files elsewhere than where a full disk is told."""
    if isinstance(node, ast.With):
        safe = safe or any(name(item.context_expr) in SAFE for item in node.items)
    if isinstance(node, ast.FunctionDef):
        inside = node.name
    if name(node) in WRITES and not safe:
        of = getattr(node.func, "value", None)
        if name(node) != "copy" or getattr(of, "id", None) == "shutil":  # arrays have `copy`, too
            yield inside
    for child in ast.iter_child_nodes(node):
        yield from unsafe(child, safe, inside)


def test_all_files_are_written_where_a_full_disk_is_told():
    found = set()
    for path in [*(ROOT / "llm4brain").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        found |= {f"{path.stem}.{where}" for where in unsafe(ast.parse(path.read_text()))}
    assert found <= INSIDE
