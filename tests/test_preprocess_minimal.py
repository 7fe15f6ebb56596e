"""The minimal backend: what it writes, and what it refuses."""

import hashlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy
from preprocess_data import AFFINE, SHAPE, head, noise, write_json, write_run

from llm4brain.errors import UserError
from llm4brain.preprocess import confounds, minimal, motion
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.names import Recording

STEM = "sub-01_task-film_run-01"


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """Two runs preprocessed; a head that moves once, by 2 mm, in the first."""
    root = tmp_path_factory.mktemp("minimal")
    centre = np.array([0.0, -18.0, 12.0])
    jump = motion.matrix(np.array([2.0, 0, 0, 0, 0, 0]), centre)
    rng = np.random.default_rng(1)
    moved = np.stack([head(moved=jump if k >= 20 else None) for k in range(40)], axis=-1)
    write_run(root / "raw", STEM, moved + 4 * noise((*SHAPE, 40), rng))
    write_run(root / "raw", "sub-01_task-film_run-02", volumes=30)
    minimal.preprocess_subject(root / "raw", root / "out", "01")
    return root


def names(stem=STEM):
    return Recording.parse(f"{stem}_bold.nii.gz")


def test_derivatives_have_one_grid_and_cover_the_brain(derived):
    grid = mni_grid(12)
    bold = nib.load(derived / "out" / names().bold(minimal.SPACE))
    mask = nib.load(derived / "out" / names().mask(minimal.SPACE))
    assert bold.shape == (*grid.shape, 40)
    assert mask.shape == grid.shape
    np.testing.assert_allclose(bold.affine, grid.affine)
    np.testing.assert_allclose(mask.affine, grid.affine)
    assert bold.header.get_zooms()[3] == 2.0
    assert mask.get_fdata().sum() > 0.9 * grid.brain.sum()


def test_nilearn_loads_the_confounds_as_fmriprep_s(derived):
    chosen, kept = load_confounds_strategy(
        str(derived / "out" / names().bold(minimal.SPACE)), denoise_strategy="simple"
    )
    slow = [c for c in chosen if c.startswith("cosine")]
    assert len(chosen) == 40
    assert len(chosen.columns) == 24 + 2 + len(slow)
    assert len(slow) == int(2 * 40 * 2.0 / 128)
    assert kept is None
    assert not chosen.isna().to_numpy().any()


def test_planted_jump_is_in_the_confounds_and_out_of_the_bold(derived):
    table = pd.read_csv(derived / "out" / names().confounds(), sep="\t", na_values="n/a")
    assert table["framewise_displacement"].idxmax() == 20
    assert table["framewise_displacement"][20] == pytest.approx(2.0, abs=0.5)
    jump = table["trans_x"][20:].mean() - table["trans_x"][:20].mean()
    assert jump == pytest.approx(2.0, abs=0.15)
    bold = nib.load(derived / "out" / names().bold(minimal.SPACE)).get_fdata()
    left = np.abs(bold[..., 20:].mean(-1) - bold[..., :20].mean(-1))[mni_grid(12).brain]
    raw = np.abs(head(moved=motion.matrix(np.eye(6)[0] * 2, np.zeros(3))) - head())
    assert np.percentile(left, 90) < 0.25 * np.percentile(raw[raw > 1], 90)


def test_derivative_says_that_it_is_no_substitute(derived):
    about = json.loads((derived / "out/dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert "no substitute for fMRIPrep" in about["GeneratedBy"][0]["Description"]
    assert "no substitute for fMRIPrep" in (derived / "out/README").read_text()
    sidecar = json.loads((derived / "out" / names().bold_json(minimal.SPACE)).read_text())
    assert sidecar["RepetitionTime"] == 2.0
    assert sidecar["StartTime"] == 0.0
    assert sidecar["TaskName"] == "film"


def test_derivatives_are_valid_bids(derived):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([validator, derived / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_same_bytes_twice_and_nothing_left_over(derived):
    minimal.preprocess_subject(derived / "raw", derived / "again", "01")
    files = sorted(p.relative_to(derived / "out") for p in (derived / "out").rglob("*.*"))
    assert len(files) >= 11
    for path in files:
        once, twice = (
            hashlib.sha256((derived / out / path).read_bytes()).hexdigest()
            for out in ("out", "again")
        )
        assert once == twice, path
        assert not path.name.startswith(".partial")


def test_a_run_is_brought_onto_the_subject_s_first():
    grid = mni_grid(12)
    shift = motion.matrix(np.array([3.0, -2.0, 0, 0, 0, 0.03]), np.zeros(3))
    rng = np.random.default_rng(0)
    first, second = (
        minimal.preprocess_run(
            (head(moved=m)[..., None] + 2 * noise((*SHAPE, 6), rng)).astype(np.float32),
            AFFINE,
            grid,
            reference,
        )
        for m, reference in ((None, None), (shift, head(grid.affine, grid.shape)))
    )
    apart = np.abs(first.mean - second.mean)[grid.brain].mean()
    alone = minimal.preprocess_run(
        np.repeat(head(moved=shift)[..., None], 6, -1).astype(np.float32), AFFINE, grid
    )
    assert apart < 0.3 * np.abs(first.mean - alone.mean)[grid.brain].mean()


def test_slice_timing_sets_the_start_time():
    run = minimal.find.Found(names(), Path("x.nii.gz"), {"SliceTiming": [0.0, 1.0, 0.5]})
    assert minimal.sidecar(run, 1.5)["StartTime"] == 0.5


def test_volumes_before_steady_state_are_counted():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(80)
    signal[:3] += [40, 25, 12]
    assert confounds.non_steady(signal) == 3
    assert confounds.non_steady(signal[3:]) == 0


def spoil_nan(path):
    image = nib.load(path)
    data = image.get_fdata()
    data[3, 3, 3, 7] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), path)


def spoil_zero(path):
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 5)), AFFINE), path)


def spoil_end(path):
    image = nib.load(path)
    data = image.get_fdata()
    data[..., -2:] = 0
    nib.save(nib.Nifti1Image(data, image.affine), path)


def spoil_flat(path):
    nib.save(nib.Nifti1Image(head(), AFFINE), path)


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def spoil_text(path):
    path.write_text("not an image")


def spoil_tr(path):
    write_json(path.with_name(path.name.replace(".nii.gz", ".json")), {"TaskName": "film"})


def spoil_space(path):
    image = nib.load(path)
    affine = AFFINE.copy()
    affine[:3, 3] += 150
    nib.save(nib.Nifti1Image(image.get_fdata(), affine), path)


def spoil_missing(path):
    path.unlink()


def spoil_link(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_nan, "NaN or infinite values in 1 of 30 volumes, the first is number 7"),
        (spoil_zero, "is zero everywhere;"),
        (spoil_end, "is zero everywhere in 2 of 30 volumes, the first is number 28"),
        (spoil_flat, "has shape 16 x 19 x 15, not 4 axes"),
        (spoil_cut, "is not a whole NIfTI file"),
        (spoil_text, "is not a whole NIfTI file"),
        (spoil_tr, "has no RepetitionTime"),
        (spoil_space, "not in MNI space"),
        (spoil_missing, r"holds no \*_bold.nii.gz"),
        (spoil_link, "bold.nii.gz"),
    ],
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path, spoil, said):
    spoil(write_run(tmp_path / "raw", STEM))
    with pytest.raises(UserError, match=said) as error:
        minimal.preprocess_subject(tmp_path / "raw", tmp_path / "out", "01")
    assert "sub-01" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").rglob("*.nii.gz"))
    assert not list((tmp_path / "out").rglob(".partial*"))


def test_missing_subject_and_data_set(tmp_path):
    with pytest.raises(UserError, match="not a BIDS data set"):
        minimal.preprocess_subject(tmp_path, tmp_path / "out", "01")
    write_run(tmp_path / "raw", STEM)
    with pytest.raises(UserError, match="has no sub-07"):
        minimal.preprocess_subject(tmp_path / "raw", tmp_path / "out", "07")


def test_the_script_ends_in_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    spoil_tr(write_run(tmp_path / "raw", STEM))
    script = str(Path(__file__).parents[1] / "scripts/preprocess_minimal.py")
    places = {"--bids": tmp_path / "raw", "--out": tmp_path / "out", "--subject": "01"}
    words = [str(word) for pair in places.items() for word in pair]
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
