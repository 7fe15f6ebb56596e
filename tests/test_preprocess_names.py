"""File names: minimal and fMRIPrep write the same ones for the same raw run."""

import doctest

import pytest

from llm4brain.errors import UserError
from llm4brain.preprocess import fmriprep, minimal, names
from llm4brain.preprocess.names import Recording
from llm4brain.sections import PreprocessSettings


def test_examples_of_the_docstrings():
    failed, tried = doctest.testmod(names)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize(
    "raw",
    [
        "sub-01_task-film_run-01_bold.nii.gz",
        "sub-x9_ses-2_task-film_acq-hi_dir-AP_run-003_bold.nii.gz",
    ],
)
def test_both_backends_write_the_same_names(raw):
    run = Recording.parse(raw)
    settings = PreprocessSettings(output_spaces=minimal.SPACE)
    written = {
        run.confounds(),
        run.confounds_json(),
        run.mask(minimal.SPACE),
        run.bold(minimal.SPACE),
        run.bold_json(minimal.SPACE),
    }
    assert written == set(fmriprep.expected([run], settings))
    assert all(Recording.parse(name) == run for name in written)


@pytest.mark.parametrize("name", ["bold.nii.gz", "film_run_bold.nii.gz", "seg1_1.nii.gz"])
def test_a_name_that_is_not_bids_is_one_line(name):
    with pytest.raises(UserError, match="not named as BIDS"):
        Recording.parse(name)
