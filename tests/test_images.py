"""Images whose header or bytes are not as they should be: told, refused, never read as they are."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from bold_data import SPACE, Set
from preprocess_data import AFFINE, SHAPE, write_run

from llm4brain.errors import UserError
from llm4brain.preprocess import find, images
from llm4brain.preprocess.bold import subject_bold
from llm4brain.ready import recordings
from llm4brain.sections import BoldSettings


@pytest.fixture
def path(tmp_path):
    data = 1000 + np.random.default_rng(0).standard_normal((*SHAPE, 6)).astype(np.float32)
    image = nib.Nifti1Image(data, AFFINE)
    image.set_qform(AFFINE, code=1)
    nib.save(image, tmp_path / "bold.nii.gz")
    return tmp_path / "bold.nii.gz"


def header(path, **fields):
    """The image with fields of its header as given, its other bytes as they were."""
    held = bytearray(gzip.decompress(path.read_bytes()))
    own = nib.Nifti1Header(bytes(held[:348]), check=False)
    for name, value in fields.items():
        own[name] = value
    held[:348] = own.binaryblock
    path.write_bytes(gzip.compress(bytes(held)))


def test_a_whole_file_is_read_as_nibabel_reads_it(path, capsys):
    data, affine = images.read(path, 4)
    np.testing.assert_array_equal(data, np.asarray(nib.load(path).dataobj, np.float32))
    np.testing.assert_array_equal(affine, AFFINE)
    assert capsys.readouterr().err == ""


@pytest.mark.bad_input("derivatives", "a changed byte: the checksum of gzip fails")
def test_a_gzip_whose_checksum_fails_is_refused(path):
    # stored, not packed: a changed byte unpacks without an error, and only the checksum tells
    held = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(held, compresslevel=0))
    stored[5000] ^= 1
    path.write_bytes(bytes(stored))
    with pytest.raises(UserError, match=r"bold.nii.gz: is not a whole NIfTI file \(CRC check"):
        images.read(path, 4)


@pytest.mark.bad_input("derivatives", "a negative slope in the header")
def test_a_negative_slope_is_refused(path):
    header(path, scl_slope=-1, scl_inter=0)
    with pytest.raises(UserError, match="has a scl_slope of -1 in its header"):
        images.read(path, 4)


@pytest.mark.bad_input("derivatives", "constant BOLD")
def test_bold_that_never_changes_is_refused(path):
    data = np.repeat(images.read(path, 4)[0][..., :1], 6, axis=3)
    with pytest.raises(UserError, match="is the same in every volume"):
        images.check(path, data)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"qform_code": 0, "sform_code": 0}, "has neither qform nor sform (both codes are 0)"),
        ({"qoffset_x": -87}, "its qform (code 1) and its sform (code 2) differ by 3.0 mm and 0.0"),
        ({"quatern_b": 0.05}, "degrees; the sform is used"),
        ({"qoffset_x": -89.5}, None),
        ({"qform_code": 0}, None),
        ({"sform_code": 0}, None),
    ],
)
def test_affines_that_differ_are_told(path, capsys, fields, said):
    header(path, **fields)
    images.read(path, 4)
    found = capsys.readouterr().err
    assert said in found if said else found == ""
    assert found.count("\n") == (1 if said else 0)


def test_phase_images_are_no_bold(tmp_path):
    for part in ("mag", "phase"):
        write_run(tmp_path, f"sub-01_task-film_part-{part}", volumes=3)
    layout = find.layout(tmp_path, "01")
    assert [run.recording["part"] for run in find.raw_runs(layout, "01")] == ["mag"]
    assert [run["part"] for run in recordings(tmp_path, "01", [])] == ["mag"]
    both = {"sub-01_task-film_part-mag", "sub-01_task-film"}
    assert find.run_stems(layout, "01") == both


def test_a_cohort_is_part_of_a_space_s_name(tmp_path):
    data = Set(tmp_path)
    run = data.add()
    for file in (data.out / run.folder).glob(f"*{SPACE}*"):
        file.rename(file.with_name(file.name.replace(SPACE, "MNIPediatricAsym_cohort-5")))
    settings = BoldSettings(voxel_mm=12, space="MNIPediatricAsym:cohort-5")
    assert list(subject_bold(data.raw, data.out, "01", settings).runs) == ["01"]
    other = settings.model_copy(update={"space": "MNIPediatricAsym_cohort-4"})
    with pytest.raises(UserError, match="no preprocessed BOLD in space MNIPediatricAsym_cohort-4"):
        subject_bold(data.raw, data.out, "01", other)
