"""Derivatives and events that are not as they should be: a line that names the file."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bold_data import SETTINGS, SPACE, Set
from preprocess_data import write_json

from llm4brain.brain.cohort import load
from llm4brain.errors import UserError
from llm4brain.evaluate.reference import per_clip
from llm4brain.io import write_arrays, write_table
from llm4brain.preprocess.bold import subject_bold
from llm4brain.release.decoder import run_of


@pytest.fixture
def data(tmp_path):
    return Set(tmp_path)


def spoil_confounds_rows(data, run):
    """confounds: rows are missing at the end"""
    data.confounds(run, data.table(data.volumes - 3))


def spoil_confounds_columns(data, run):
    """confounds: a column of `bold.confounds` is missing"""
    data.confounds(run, data.table(data.volumes).drop(columns=["rot_y"]))


def spoil_confounds_middle(data, run):
    """confounds: `n/a` below the first row"""
    table = data.table(data.volumes)
    table.loc[40, "trans_x"] = np.nan
    data.confounds(run, table)


def spoil_confounds_comma(data, run):
    """confounds: a decimal comma"""
    table = data.table(data.volumes).astype({"rot_x": object})
    table.loc[7, "rot_x"] = "0,02"
    data.confounds(run, table)


def spoil_confounds_word(data, run):
    """confounds: a word for a number"""
    table = data.table(data.volumes).astype({"framewise_displacement": object})
    table.loc[7, "framewise_displacement"] = "high"
    data.confounds(run, table)


def spoil_confounds_infinite(data, run):
    """confounds: an infinite value"""
    table = data.table(data.volumes)
    table.loc[7, "csf"] = np.inf
    data.confounds(run, table)


def spoil_confounds_old_name(data, run):
    """confounds: under their name in fMRIPrep before 20.2"""
    path = data.out / run.confounds()
    path.rename(path.with_name(path.name.replace("timeseries", "regressors")))


def spoil_freedom(data, run):
    """few volumes for many confounds"""
    data.volumes = 31
    data.add()


def spoil_confounds_missing(data, run):
    """no confounds"""
    (data.out / run.confounds()).unlink()


def spoil_mask_missing(data, run):
    """the mask is missing"""
    (data.out / run.mask(SPACE, "2")).unlink()


def spoil_mask_shape(data, run):
    """a mask on another grid"""
    nib.save(
        nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), data.out / run.mask(SPACE, "2")
    )


def spoil_bold_nan(data, run):
    """NaN in a volume"""
    path = data.out / run.bold(SPACE, "2")
    image = nib.load(path)
    bold = image.get_fdata()
    bold[4, 4, 4, 9] = np.nan
    nib.save(nib.Nifti1Image(bold, image.affine), path)


def spoil_bold_cut(data, run):
    """a truncated file"""
    path = data.out / run.bold(SPACE, "2")
    path.write_bytes(path.read_bytes()[:3000])


def spoil_bold_missing(data, run):
    """no BOLD in `bold.space`"""
    (data.out / run.bold(SPACE, "2")).unlink()


def spoil_space(data, run):
    """not in MNI space"""
    data.add(affine=data.grid.affine + np.array([[0, 0, 0, 300]] * 3 + [[0] * 4]))


def spoil_sidecar_list(data, run):
    """sidecar: a JSON list"""
    write_json(data.out / run.bold_json(SPACE, "2"), [])


def spoil_sidecar_deep(data, run):
    """sidecar: endless nesting"""
    (data.out / run.bold_json(SPACE, "2")).write_text("[" * 100_000)


def spoil_tr(data, run):
    """no `RepetitionTime`, no TR in the header"""
    write_json(data.out / run.bold_json(SPACE, "2"), {"TaskName": "film"})


def spoil_second_resolution(data, run):
    """two resolutions of one run"""
    data.add(resolution="1")


def spoil_events_late(data, run):
    """events: an onset after the end of the run"""
    rows = "onset\tduration\tstim_file\n0\t9\ta.mp4\n500\t9\tb.mp4\n"
    (data.raw / run.folder / f"{run.stem}_events.tsv").write_text(rows)


def spoil_events_onset(data, run):
    """events: a word for an onset"""
    rows = "onset\tduration\tstim_file\nsoon\t9\ta.mp4\n"
    (data.raw / run.folder / f"{run.stem}_events.tsv").write_text(rows)


def spoil_events_columns(data, run):
    """events: a column is missing"""
    (data.raw / run.folder / f"{run.stem}_events.tsv").write_text("onset\tstim_file\n0\ta.mp4\n")


def spoil_events_no_film(data, run):
    """events: `n/a` for every film"""
    rows = "onset\tduration\tstim_file\n0\t9\tn/a\n"
    (data.raw / run.folder / f"{run.stem}_events.tsv").write_text(rows)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_confounds_rows, r"timeseries.tsv: has 77 rows for 80 volumes"),
        (spoil_confounds_columns, r"timeseries.tsv: lacks what bold.confounds: simple needs"),
        (spoil_confounds_middle, r"timeseries.tsv: holds n/a below the first row of trans_x"),
        (spoil_confounds_comma, r"timeseries.tsv: row 9 has rot_x '0,02', which is not a number"),
        (spoil_confounds_word, r"timeseries.tsv: row 9 has framewise_displacement 'high', which"),
        (spoil_confounds_infinite, r"timeseries.tsv: row 9 has csf 'inf', which is not a number"),
        (
            spoil_confounds_old_name,
            r"timeseries.tsv: is missing; there is sub-01_.*_regressors.tsv, fMRIPrep's name",
        ),
        (
            spoil_freedom,
            r"bold.nii.gz: has 31 volumes, and cleaning takes 29 .*: 2 are left, 3 are needed",
        ),
        (spoil_confounds_missing, r"timeseries.tsv: is missing"),
        (spoil_mask_missing, r"brain_mask.nii.gz: is missing"),
        (spoil_mask_shape, r"brain_mask.nii.gz: is not on the grid of its BOLD"),
        (spoil_bold_nan, r"preproc_bold.nii.gz: holds NaN .* number 9"),
        (spoil_bold_cut, r"preproc_bold.nii.gz: is not a whole NIfTI"),
        (spoil_bold_missing, r"sub-01: holds no preprocessed BOLD in space MNI152"),
        (spoil_space, r"preproc_bold.nii.gz: covers 0% of the MNI brain"),
        (spoil_sidecar_list, r"preproc_bold.json: is not a sidecar \(no JSON object\)"),
        (spoil_sidecar_deep, r"preproc_bold.json: is not JSON"),
        (spoil_tr, r"preproc_bold.nii.gz: has no RepetitionTime"),
        (spoil_second_resolution, r"is not the only resolution of sub-01_task-film_run-01"),
        (spoil_events_late, r"events.tsv: row 3 starts at 500 s, but the run ends at 120.75 s"),
        (spoil_events_onset, r"events.tsv: row 2 has onset 'soon', which is not a number"),
        (spoil_events_columns, r"events.tsv: has no column duration"),
        (spoil_events_no_film, r"sub-01: has no event with a stim_file in any run"),
    ],
)
@pytest.mark.bad_input("derivatives", "{spoil.__doc__}")
def test_bad_input_is_one_line_that_names_the_file(data, spoil, said):
    spoil(data, data.add())
    with pytest.raises(UserError, match=said) as error:
        data.read()
    assert "\n" not in str(error.value)


def test_few_degrees_of_freedom_are_warned_of(data, capsys):
    data.volumes = 36
    data.add()
    data.read()
    assert "36 volumes, and cleaning takes 29 degrees of freedom: 7 are" in capsys.readouterr().err


def test_a_run_without_a_valid_volume_is_warned_of_and_refused_by_the_stages(data, capsys):
    run = data.add()
    data.confounds(run, data.table(data.volumes).assign(framewise_displacement=9.0))
    assert not data.read().arrays["valid-01"].any()
    assert "_timeseries.tsv: no volume of the run is valid: all moved" in capsys.readouterr().err
    bold = {"windows": np.ones((2, 3, 4), np.float16), "voxels": np.zeros((4, 3), np.int16)}
    write_arrays(data.out / "features", bold, {"affine": np.eye(4).tolist()})
    columns = {"clip_id": ["a", "b"], "stim_file": "a.mp4", "onset": 0, "split": "train"}
    trials = pd.DataFrame({"trial": [0, 1], **columns, "repeat": 1, "valid": [0.3, 0.0]})
    write_table(data.out / "trials.tsv", trials)
    for repeats in ("average", "single"):
        with pytest.raises(UserError, match=r"trials.tsv: has no train trial of which 50% of the"):
            load(["01"], [data.out / "features"], [data.out / "trials.tsv"], ("train",), repeats)
    with pytest.raises(UserError, match="trials: has no train trial of which 50%"):
        per_clip(bold["windows"], trials, "average")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_confounds_old_name, r"timeseries.tsv: is missing; there is sub-01_.*_regressors"),
        (spoil_mask_missing, r"brain_mask.nii.gz: is missing; keep fMRIPrep's files of the run"),
        (spoil_sidecar_list, r"preproc_bold.json: is not a sidecar \(no JSON object\)"),
    ],
)
def test_a_run_to_decode_is_refused_in_the_same_words(data, spoil, said):
    run = data.add()
    spoil(data, run)
    with pytest.raises(UserError, match=said):
        run_of(data.out / run.bold(SPACE, "2"))


@pytest.mark.bad_input(
    "derivatives", "a folder without `dataset_description.json`", "no folder of the subject"
)
def test_no_derivatives_at_all(data):
    data.add()
    with pytest.raises(UserError, match="not a BIDS data set"):
        subject_bold(data.raw, data.out / "nowhere", "01", SETTINGS)
    with pytest.raises(UserError, match="has no sub-02"):
        subject_bold(data.raw, data.out, "02", SETTINGS)
    assert json.loads((data.out / "dataset_description.json").read_text())
