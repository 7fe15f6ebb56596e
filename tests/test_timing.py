"""TR and start of a run: read where they are seconds, refused where they cannot be."""

import nibabel as nib
import pytest
from bold_data import SPACE, Set
from preprocess_data import write_json, write_run

from llm4brain.errors import UserError
from llm4brain.preprocess.minimal import preprocess_subject


@pytest.fixture
def data(tmp_path):
    return Set(tmp_path)


def sidecar(data, run):
    return data.out / run.bold_json(SPACE, "2")


def started(data, **about):
    write_json(sidecar(data, data.add()), {"RepetitionTime": 1.5} | about)
    run = data.read().meta["runs"]["01"]
    return run["tr"], run["start_time"]


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"RepetitionTime": 1500}, "has a RepetitionTime of 1500 in its JSON sidecar, no TR in"),
        ({"RepetitionTime": True}, "has a RepetitionTime of True"),
        ({"RepetitionTime": "1.5"}, "has a RepetitionTime of '1.5'"),
        ({"RepetitionTime": float("nan")}, "has a RepetitionTime of nan"),
        ({"RepetitionTime": None}, "has no RepetitionTime in its JSON"),
        ({"StartTime": 750}, r"has a StartTime of 750 in its JSON, not within its TR of 1.5 s"),
        ({"StartTime": True}, "has a StartTime of True"),
        ({"StartTime": -0.5}, "has a StartTime of -0.5"),
    ],
)
@pytest.mark.bad_input("sidecars", "`{about}`")
def test_what_is_no_number_of_seconds_is_refused(data, about, said):
    with pytest.raises(UserError, match=said):
        started(data, **about)


def test_the_start_is_half_a_tr_where_slice_timing_was_corrected_and_none_is_told(data, capsys):
    assert started(data) == (1.5, 0.0)
    assert started(data, SliceTimingCorrected=False) == (1.5, 0.0)
    assert started(data, SliceTimingCorrected=True, StartTime=0.0) == (1.5, 0.0)
    assert "warning" not in capsys.readouterr().err
    assert started(data, SliceTimingCorrected=True) == (1.5, 0.75)
    assert "(fMRIPrep before 20.2.4); TR / 2 = 0.75 s is taken" in capsys.readouterr().err


def test_a_header_of_another_tr_is_told(data, capsys):
    run = data.add()
    path = data.out / run.bold(SPACE, "2")
    for unit, tr, other in (("sec", 1.5, False), ("msec", 1500, False), ("sec", 3, True)):
        image = nib.load(path)
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = tr
        nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), path)
        assert data.read().meta["runs"]["01"]["tr"] == 1.5
        said = "TR is 1.5 s by its JSON and 3 s by its header; the JSON's is used"
        assert (said in capsys.readouterr().err) is other


def broken(path):
    path.write_text('{"RepetitionTime": 1.5,')


def a_list(path):
    path.write_text("[1]")


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (broken, "bold.json: is not JSON"),
        (a_list, "bold.json: is not a sidecar"),
        (dangling, "bold.json: is a link to nowhere, which is not there; fetch that file"),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_one_line(data, spoil, said):
    run = data.add()
    for path in (data.raw / run.folder / f"{run.stem}_bold.json", sidecar(data, run)):
        kept = path.read_text()
        spoil(path)
        with pytest.raises(UserError, match=said) as error:
            data.read()
        assert str(path) in str(error.value)
        path.unlink()
        path.write_text(kept)


@pytest.mark.bad_input("events", "a broken link")
def test_a_link_to_events_that_are_not_there_is_told(data):
    run = data.add()
    dangling(data.raw / run.folder / f"{run.stem}_events.tsv")
    with pytest.raises(UserError, match=r"events.tsv: is a link to nowhere, which is not there"):
        data.read()


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"RepetitionTime": 2000}, "has a RepetitionTime of 2000"),
        ({"RepetitionTime": 2, "SliceTiming": [0, 975]}, "has 975 in its SliceTiming, not within"),
        ({"RepetitionTime": 2, "SliceTiming": [0, "1"]}, "has '1' in its SliceTiming"),
    ],
)
@pytest.mark.bad_input("raw data", "`{about}`")
def test_raw_runs_are_held_to_the_same(tmp_path, about, said):
    write_run(tmp_path / "raw", sidecar=about)
    with pytest.raises(UserError, match=said):
        preprocess_subject(tmp_path / "raw", tmp_path / "out", "01")
