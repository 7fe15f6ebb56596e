"""Wen 2018: what is on disk is told, and a volume is paired with the second that it was seen at."""

import doctest
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from wen2018_data import AFFINE, EDGE, SHAPE, data_set, film, films, scan_path, volume, volumes

from llm4brain.cli import app
from llm4brain.clips import Run, clip_table, cut_windows
from llm4brain.errors import UserError
from llm4brain.preprocess import clean
from llm4brain.preprocess.bold import subject_bold
from llm4brain.sections import BoldSettings, ClipSettings, Splits
from llm4brain.video.frames import stimulus_durations
from llm4brain.wen2018 import convert, disk, facts
from llm4brain.wen2018.facts import STIMULI, Scan, scans

BOLD = BoldSettings(space="MNI152NLin6Asym", voxel_mm=EDGE, confounds="polynomial")
EVERY = [scan for subject in (1, 2, 3) for scan in scans(subject, STIMULI)]


def test_examples_of_the_docstrings():
    failed, tried = doctest.testmod(facts)
    assert tried > 0
    assert failed == 0


# -- the lag: none but clips.lag


def authors_drop(stimulus):
    """Volumes that the authors' code drops at the begin of a run, to keep 240."""
    return 2 if volumes(stimulus) == 246 else 1


@pytest.fixture(scope="module")
def impulses(tmp_path_factory):
    """Runs of each kind, with a flash in the volume that the authors pair with second 2k."""
    root = tmp_path_factory.mktemp("impulses")
    shown = {"seg1": (1, 7), "test1": (9, 100), "test2": (1, 0), "test5": (10, 239)}
    files = []
    for stimulus, (repeat, k) in shown.items():
        path = scan_path(root, 1, stimulus, repeat)
        rng = np.random.default_rng(repeat)
        bold = 1000 + 5 * rng.standard_normal((*SHAPE, volumes(stimulus)))
        bold[..., authors_drop(stimulus) + k] += 100
        files.append(volume(path, bold.astype(np.float32)))
    convert.write_subject("01", files, root / "bids", root / "out")
    made = subject_bold(root / "bids", root / "out", "01", BOLD)
    return root, shown, made.meta["runs"], dict(made.arrays())


@pytest.mark.parametrize("stimulus", ["seg1", "test1", "test2", "test5"])
def test_an_impulse_is_found_at_the_clip_that_the_authors_pair_it_with(impulses, stimulus):
    _, shown, runs, arrays = impulses
    repeat, k = shown[stimulus]
    label = f"task-{stimulus}_run-{repeat:02d}"
    about = runs[label]
    assert (about["tr"], about["start_time"]) == (2.0, 0.0)
    assert about["volumes"] == volumes(stimulus)
    run = Run(
        label, arrays[f"run-{label}"], arrays[f"valid-{label}"],
        about["tr"], about["start_time"], about["events"],
    )  # fmt: skip
    splits = Splits(train=[f"{stimulus}.mp4"], validation=["b.mp4"], test=["c.mp4"])
    seconds = dict.fromkeys((f"{stimulus}.mp4", "b.mp4", "c.mp4"), 480.0)
    clips, _ = clip_table(seconds, splits, 2.0)
    found = cut_windows([run], clips, ClipSettings(duration=2, lag=4, window=2))
    assert len(found.trials) == 240  # as many as the authors keep
    assert "off the run" not in found.left_out
    seen = found.windows.mean(axis=(1, 2))
    assert found.trials["onset"][seen.argmax()] == 2 * k
    assert seen.max() > 5 * np.sort(seen)[-2]
    # a second lag on top of the first reads other clips
    wrong = cut_windows([run], clips, ClipSettings(duration=2, lag=8, window=2))
    seen = wrong.windows.mean(axis=(1, 2))
    assert wrong.trials["onset"][seen.argmax()] != 2 * k


def test_a_fourth_order_polynomial_goes_as_the_authors_take_it_out():
    time = np.linspace(-1, 1, 245)
    drift = 3 * time**4 - 2 * time**3 + time**2 + 5 * time
    signal = 1000 + 20 * drift + np.random.default_rng(0).standard_normal(245)
    table = pd.DataFrame({"framewise_displacement": np.full(245, np.nan)})
    chosen = clean.regressors(Path("none"), Path("none"), table, "polynomial")
    found = clean.clean_run(signal[:, None], chosen, 2.0, BOLD)[:, 0]
    rest = signal - np.polyval(np.polyfit(time, signal, 4), time)
    np.testing.assert_allclose(found, rest / rest.std(ddof=1), atol=1e-4)
    assert clean.valid_volumes(table, 1.0).all()


# -- the one door


def test_what_is_made_is_links_events_and_facts(impulses):
    root, *_ = impulses
    out = root / "out/sub-01/func/sub-01_task-test1_run-09_space-MNI152NLin6Asym_desc"
    bold = out.with_name(f"{out.name}-preproc_bold.nii.gz")
    assert bold.is_symlink()
    assert bold.resolve().name == "test1_9.mni.nii.gz"
    about = json.loads(out.with_name(f"{out.name}-preproc_bold.json").read_text())
    assert (about["RepetitionTime"], about["StartTime"]) == (2.0, 0.0)
    assert nib.load(bold).header.get_zooms()[3] == 1.0  # the header's step, which nobody reads
    mask = nib.load(out.with_name(f"{out.name}-brain_mask.nii.gz"))
    np.testing.assert_allclose(mask.affine, AFFINE)
    litres = np.asarray(mask.dataobj).sum() * EDGE**3 / 1e6
    assert 1.5 < litres < 2.1
    events = {
        path.name.split("_")[1]: path.read_text()
        for path in (root / "bids/sub-01/func").glob("*_events.tsv")
    }
    head = "onset\tduration\ttrial_type\tstim_file\n"
    assert events["task-seg1"] == f"{head}-2\t480\tfilm\tseg1.mp4\n"
    assert events["task-test1"] == f"{head}-2\t480\tfilm\ttest1.mp4\n"
    assert events["task-test2"] == f"{head}0\t480\tfilm\ttest2.mp4\n"


def test_runs_that_are_not_read_are_said_and_their_files_go(impulses, tmp_path, capsys):
    files = [scan_path(tmp_path, 3, "test2", k) for k in (1, 2, 3, *range(5, 11))]
    for path in files:
        volume(path, np.ones((*SHAPE, 2), np.float32))
    convert.write_subject("03", files, tmp_path / "bids", tmp_path / "out")
    files = [path for path in files if "test2_9" not in path.name]
    files[-1].unlink()
    convert.write_subject("03", files[:-1], tmp_path / "bids", tmp_path / "out")
    said = capsys.readouterr().err
    assert "sub-03_task-test2_run-09: left out, about 10 s out of step" in said
    assert "sub-03_task-test2_run-04: left out, wen2018.leave_out names it" in said
    for folder in (tmp_path / "bids/sub-03/func", tmp_path / "out/sub-03/func"):
        kept = {path.name.split("_")[2] for path in folder.iterdir()}
        assert kept == {"run-01", "run-02", "run-03", "run-05", "run-06", "run-07", "run-08"}


def test_grayordinates_get_their_fmriprep_name(tmp_path):
    data_set(tmp_path, [2], ["seg4"], "cifti")
    files = [scan_path(tmp_path, 2, "seg4", k, "cifti") for k in (1, 2)]
    convert.write_subject("02", files, tmp_path / "bids", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out/sub-02/func").iterdir()}
    stem = "sub-02_task-seg4_run-01"
    assert f"{stem}_space-fsLR_den-91k_bold.dtseries.nii" in names
    assert f"{stem}_space-fsLR_den-91k_bold.json" in names
    assert f"{stem}_desc-confounds_timeseries.tsv" in names
    assert len(names) == 8


def test_links_lead_on_when_data_and_study_move_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_set(tmp_path / "a" / "data", [2], ["seg4"], "cifti")
    (tmp_path / "a" / "study").mkdir()
    monkeypatch.chdir(tmp_path / "a" / "study")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.dtseries.nii")]
    files = [Path("..") / file for file in files]
    convert.write_subject("02", files, Path("bids"), Path("out"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    made = list((tmp_path / "b" / "study" / "out").rglob("*.dtseries.nii"))
    assert len(made) == 2
    assert all(path.is_file() for path in made)


@pytest.mark.bad_input("Wen 2018", "volumes elsewhere than in MNI space", "a file of another name")
def test_volumes_elsewhere_than_in_mni_space_are_refused(tmp_path):
    path = scan_path(tmp_path, 1, "seg1", 1)
    away = AFFINE + np.array([[0, 0, 0, 300]] * 3 + [[0] * 4])
    volume(path, np.ones((*SHAPE, 2), np.float32), away)
    with pytest.raises(UserError, match=r"seg1_1_mni.nii.gz: covers 0% of the MNI brain"):
        convert.write_subject("01", [path], tmp_path / "bids", tmp_path / "out")
    with pytest.raises(UserError, match="is not named as a run"):
        convert.write_subject("01", [tmp_path / "a.nii.gz"], tmp_path / "bids", tmp_path / "out")


# -- what is on disk


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All of it, in two roots: subject 3 lies apart, as its archive unpacks."""
    root = tmp_path_factory.mktemp("whole")
    data_set(root / "video_fmri_dataset", [1, 2])
    films(root / "video_fmri_dataset", STIMULI, alike=True)
    data_set(root / "more" / "archive" / "video_fmri_dataset", [3])
    return root


@pytest.fixture
def copy(whole, tmp_path):
    """The same, for a test to spoil."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def required(root):
    disk.require([root / "video_fmri_dataset", root / "more"], "mni", facts.FILMS, EVERY)


def test_all_of_it_is_found_in_either_root(whole):
    required(whole)
    disk.require([whole], "mni", facts.FILMS, [s for s in EVERY if s.subject < 3])
    where = disk.homes([whole, whole / "more"])
    found = disk.look(where, "mni", [], [Scan(1, "test1", 9)]).scans
    assert found[Scan(1, "test1", 9)].name == "test1_9.mni.nii.gz"
    assert len(EVERY) == 3 * 86 - 1


def test_everything_that_is_missing_or_short_is_named_at_once(copy):
    one, other = copy / "video_fmri_dataset", copy / "more/archive/video_fmri_dataset"
    scan_path(one, 1, "seg3", 2).unlink()
    scan_path(other, 3, "test5", 10).unlink()
    short = np.zeros((1, 1, 1, 244), np.int16)
    volume(scan_path(one, 2, "seg4", 1), short)
    cut = scan_path(one, 2, "test2", 3)
    volume(cut, np.random.default_rng(0).integers(0, 99, (9, 9, 9, 246), dtype=np.int16))
    cut.write_bytes(cut.read_bytes()[:-1000])
    scan_path(one, 2, "test3", 1).write_bytes(b"no image")
    (one / "stimuli/seg9.mp4").unlink()
    film(one / "stimuli/seg8.mp4", seconds=100)
    half = (one / "stimuli/seg7.mp4").read_bytes()
    (one / "stimuli/seg7.mp4").write_bytes(half[: len(half) // 2])
    with pytest.raises(UserError) as error:
        required(copy)
    said = str(error.value)
    assert "\n" not in said
    for part in (
        "stimuli lack seg9.mp4",
        "subject1 lacks seg3_2 of mni",
        "subject3 lacks test5_10 of mni",
        "seg4_1_mni.nii.gz has 244 volumes, not 245",
        "test2_3_mni.nii.gz is cut off",
        "test3_1_mni.nii.gz is not a whole file",
        "seg8.mp4 lasts 100 s, not 480",
        "seg7.mp4 is not a whole video",
    ):
        assert part in said


@pytest.mark.bad_input(
    "Wen 2018",
    "a subject is missing",
    "two subjects are missing",
    "a root that is not there",
    "a root of other data",
)
def test_a_whole_subject_is_missing_in_few_words_and_a_root_by_its_name(whole, tmp_path):
    with pytest.raises(UserError, match=r"roots: subject3 lacks every run of mni; fetch"):
        disk.require([whole / "video_fmri_dataset"], "mni", facts.FILMS, EVERY)
    with pytest.raises(UserError, match="subject2 lacks every run of cifti; subject3 lacks every"):
        disk.require([whole], "cifti", [], EVERY)
    with pytest.raises(UserError, match="nowhere: is not a folder"):
        disk.require([whole, "nowhere"], "mni", [], [])
    with pytest.raises(UserError, match="holds no video_fmri_dataset"):
        disk.require([tmp_path], "mni", [], [])


def test_grayordinates_are_counted_and_measured(tmp_path):
    data_set(tmp_path, [2], ["seg1", "test2"], "cifti")
    needed = scans(2, ["seg1", "test2"])
    disk.require([tmp_path], "cifti", [], needed)
    path = scan_path(tmp_path, 2, "test2", 1, "cifti")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"test2_1_Atlas.dtseries.nii is cut off"):
        disk.require([tmp_path], "cifti", [], needed)


def test_a_scan_that_lies_nowhere_in_space_is_told(tmp_path):
    path = scan_path(tmp_path, 1, "seg1", 1)
    path.parent.mkdir(parents=True)
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 245), np.int16), None)
    nib.save(image, path)
    assert "sform and qform" in disk.fault_of_scan(Scan(1, "seg1", 1), path)


def test_check_says_what_is_there_and_what_is_not(copy):
    run = CliRunner().invoke
    roots = [str(copy / "video_fmri_dataset"), str(copy / "more")]
    done = run(app, ["wen2018", "check", *roots])
    assert done.exit_code == 0, done.output
    assert "films: 23 of 23" in done.output
    assert "subject1, mni: 86 of 86 runs" in done.output
    assert "subject3, mni: 85 of 85 runs" in done.output
    assert "subject3/test2_9: not used, about 10 s out of step" in done.output
    one = copy / "video_fmri_dataset"
    scan_path(one, 1, "seg3", 2).unlink()
    volume(scan_path(one, 1, "seg3", 3), np.zeros((1, 1, 1, 245), np.int16))
    (one / "stimuli" / "notes.txt").touch()
    volume(scan_path(one, 2, "seg4", 1), np.zeros((1, 1, 1, 100), np.int16))
    done = run(app, ["wen2018", "check", str(one)])
    assert done.exit_code == 1
    assert "subject1, mni: 85 of 86 runs" in done.output
    assert "missing: seg3_2" in done.output
    assert "seg4_1_mni.nii.gz has 100 volumes, not 245" in done.output
    assert "subject3: nothing" in done.output
    for extra in ("subject1/fmri/seg3/mni/seg3_3_mni.nii.gz", "stimuli/notes.txt"):
        assert f"extra: {extra}" in done.output
    assert done.output.count("error:") == 1


def test_films_of_eight_minutes_are_measured(tmp_path):
    path = film(tmp_path / "seg1.mp4")
    assert disk.fault_of_film(path) == ""
    assert stimulus_durations(tmp_path, ["seg1.mp4"]) == {"seg1.mp4": pytest.approx(480)}
