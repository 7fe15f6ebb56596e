"""A further cohort for masked pretraining: its runs read anywhere, its subjects held out whole."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from bold_data import Set
from cifti_data import axis
from cifti_data import write_run as write_cifti
from conftest import ROOT, TINY, counted, snakemake
from leak_data import FIT, SETTINGS, step
from safetensors.numpy import load_file

from llm4brain.brain import cohort
from llm4brain.brain.resting import resting_windows
from llm4brain.config import load
from llm4brain.errors import UserError
from llm4brain.io import write_arrays, write_table
from llm4brain.preprocess.grid import mni_grid
from llm4brain.preprocess.resting import averaged, resting_bold, usual_tr
from llm4brain.ready import require, require_apart
from llm4brain.sections import BoldSettings

VOXELS = np.argwhere(np.ones((2, 2, 2))).astype(np.int16)


def write_subject(folder, subject, runs=2, volumes=12, bad=()):
    """Each volume holds its own number; those of `bad` are invalid."""
    arrays, valid = {"voxels": VOXELS}, np.ones(volumes, bool)
    valid[list(bad)] = False
    for run in range(runs):
        bold = np.repeat(np.arange(volumes, dtype=np.float32)[:, None], len(VOXELS), axis=1)
        arrays |= {f"run-{run}": bold + 100 * run, f"valid-{run}": valid}
    meta = {"affine": np.eye(4).tolist(), "runs": {str(run): {} for run in range(runs)}}
    path = folder / f"sub-{subject}.safetensors"
    write_arrays(path, arrays, meta)
    return path


def test_windows_lie_anywhere_but_on_invalid_volumes(tmp_path):
    files = [write_subject(tmp_path, s, bad=[5]) for s in ("1", "2")]
    train, validation = resting_windows(files, volumes=2)
    np.random.seed(0)
    drawn = np.concatenate([train.draw(np.arange(len(train))) for _ in range(40)])
    assert sorted(set(drawn[:, 1])) == [0, 1, 2, 3, 6, 7, 8, 9, 10]
    windows = train.read(drawn)
    assert windows.shape == (len(drawn), 2, 8)
    assert np.array_equal(windows[:, 1] - windows[:, 0], np.ones((len(drawn), 8)))
    assert not (windows % 100 == 5).any()
    # side by side, and the same each time
    held = validation.read(validation.places)[:, 0, 0] % 100
    assert held.tolist() == [0, 2, 6, 8, 10] * 2


@pytest.mark.parametrize(("subjects", "held"), [(2, ["1"]), (12, ["9"]), (20, ["9", "19"])])
def test_whole_subjects_validate(tmp_path, subjects, held):
    files = [write_subject(tmp_path, s) for s in range(subjects)]
    train, validation = resting_windows(files, volumes=3)
    seen, kept = (
        {windows.sources[i][0].stem.removeprefix("sub-") for i in windows.places[:, 0]}
        for windows in (train, validation)
    )
    assert kept == set(held)
    assert seen == set(map(str, range(subjects))) - kept


@pytest.mark.bad_input("pretraining cohort", "one subject with one run")
def test_of_one_subject_whole_runs_validate(tmp_path):
    train, validation = resting_windows([write_subject(tmp_path, "1", runs=3)], volumes=2)
    assert set(train.places[:, 0]) == {0, 1}
    assert set(validation.places[:, 0]) == {2}
    with pytest.raises(UserError, match="fewer than two runs"):
        resting_windows([write_subject(tmp_path, "2", runs=1)], volumes=2)


def test_from_derivatives_without_events_to_where_the_cohorts_own_pretraining_begins(tmp_path):
    further = Set(tmp_path / "further", volumes=40)
    for subject in ("A1", "A2"):
        further.add(f"sub-{subject}_task-rest_run-01", events=None)
        step("pretraining_bold")(
            derivatives=further.out,
            subject=subject,
            out=tmp_path / f"bold/sub-{subject}.safetensors",
            settings=BoldSettings(voxel_mm=12).model_dump_json(),
        )
    grid = mni_grid(12)
    windows = np.random.default_rng(0).normal(size=(12, 2, len(grid.voxels))).astype(np.float16)
    features, trials = tmp_path / "sub-01.safetensors", tmp_path / "trials.tsv"
    arrays = {"windows": windows, "voxels": grid.voxels}
    write_arrays(features, arrays, {"affine": grid.affine.tolist()})
    write_table(trials, pd.DataFrame({"split": ["train"] * 8 + ["validation"] * 4}))
    sizes = SETTINGS["pretrain"] | {"pretraining": True}
    shared = {"seed": 0, "threads": 1, "precision": "fp32", "code": ""}

    def made(name):
        return {k: tmp_path / f"{name}.{e}" for k, e in (("log", "csv"), ("plot", "png"))} | {
            "out": tmp_path / f"{name}.safetensors"
        }

    step("pretraining")(
        bold=tmp_path / "bold",
        subject=["A1", "A2"],
        example=features,
        settings=json.dumps(sizes),
        **made("further"),
        **shared,
    )
    for name, epochs in (("is", 0), ("begins", 1)):
        step("pretrain")(
            subject=["01"],
            features=[features],
            trials=[trials],
            settings=json.dumps(sizes | {"fit": FIT | {"epochs": epochs}}),
            start=tmp_path / "further.safetensors",
            **made(name),
            **shared,
        )
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("further", "is"))
    assert one.keys() == other.keys()
    anew = {"scmbm.loading", "scmbm.noise"}  # the linear path is each cohort's own
    # by these the network is read, and they are set to zero where it predicts worse than without
    last = ("scmbm.share", "scmbm.mix.", "scmbm.surround.straight.", "scmbm.surround.up.")
    kept = [n for n in one.keys() - anew if not n.startswith(last)]
    assert all(np.array_equal(one[n], other[n]) for n in kept)
    assert not np.array_equal(one["scmbm.loading"], other["scmbm.loading"])
    first = [(tmp_path / f"{name}.csv").read_text().splitlines()[1] for name in ("is", "begins")]
    assert first[0].split(",")[0] == first[1].split(",")[0] == "0"
    smaller = sizes | {"embed_dim": 8}
    with pytest.raises(UserError, match="of another size"):
        step("pretrain")(
            subject=["01"], features=[features], trials=[trials], settings=json.dumps(smaller),
            start=tmp_path / "further.safetensors", **made("no"), **shared,
        )  # fmt: skip


def test_volumes_of_a_faster_scan_are_averaged_until_they_last_as_long(tmp_path, capsys):
    decoded = Set(tmp_path / "own", tr=2.0)
    further = Set(tmp_path / "hcp", volumes=40, tr=0.72, start=0.36)
    decoded.add()
    further.add("sub-A1_task-rest_run-01", events=None)
    own = decoded.read()
    write_arrays(tmp_path / "own.safetensors", own.arrays, own.meta)
    chosen = BoldSettings(voxel_mm=12)
    tr = usual_tr(tmp_path / "own.safetensors")
    assert tr == 2.0
    made, fast = (resting_bold(further.out, "A1", chosen, own_tr=t) for t in (tr, None))
    arrays, scanned = dict(made.arrays()), dict(fast.arrays())
    assert made.meta["runs"]["01"]["tr"] == pytest.approx(2.16)
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == made.shapes
    assert (len(arrays["run-01"]), len(scanned["run-01"])) == (13, 40)
    means = scanned["run-01"][:39].reshape(13, 3, -1).mean(axis=1)
    matches = [np.corrcoef(means[:, v], arrays["run-01"][:, v])[0, 1] for v in (0, 50)]
    assert matches == pytest.approx([1, 1])
    np.testing.assert_allclose(arrays["run-01"].std(axis=0, ddof=1), 1, rtol=1e-4)
    assert capsys.readouterr().err == ""
    resting_bold(further.out, "A1", chosen, own_tr=1.2)
    assert "a volume spans 1.44 s, and 1.2 s in the decoded cohort" in capsys.readouterr().err
    assert not resting_bold(further.out, "A1", chosen, own_tr=20).runs
    assert "too short to be averaged" in capsys.readouterr().err
    slower = resting_bold(further.out, "A1", chosen, own_tr=0.3).meta["runs"]["01"]
    assert (slower["averaged"], slower["volumes"]) == (1, 40)


def test_a_mean_over_an_invalid_volume_is_invalid():
    bold = np.array([[0.0, 5], [2, 5], [3, 5], [5, 5], [9, 5]])
    means, valid = averaged(bold, np.array([True, True, True, False, True]), 2)
    assert valid.tolist() == [True, False]
    assert means.tolist() == [[pytest.approx(-(0.5**0.5)), 0], [pytest.approx(0.5**0.5), 0]]


def test_grayordinates_of_people_at_rest_are_read_the_same_way(tmp_path):
    rng = np.random.default_rng(0)
    for subject in ("A1", "A2"):
        bold = 1000 + rng.normal(size=(20, len(axis())))
        write_cifti(tmp_path / "raw", tmp_path / "out", f"sub-{subject}_task-rest_run-01", bold)
        step("pretraining_bold")(
            derivatives=tmp_path / "out",
            subject=subject,
            out=tmp_path / f"sub-{subject}.safetensors",
            settings=BoldSettings(space="fsLR", confounds="none").model_dump_json(),
        )
    files = [tmp_path / f"sub-{subject}.safetensors" for subject in ("A1", "A2")]
    train, validation = resting_windows(files, volumes=3)
    cortex = int(axis().surface_mask.sum())
    assert train.read(train.draw(np.arange(len(train)))).shape == (6, 3, cortex)
    assert len(validation) == 6


@pytest.mark.bad_input("pretraining cohort", "a folder that is not there")
def test_a_further_cohort_that_is_not_there_is_told_at_once(tmp_path):
    over = tmp_path / "over.yaml"
    over.write_text("pretraining: {derivatives: nowhere}\n")
    with pytest.raises(UserError, match="nowhere: is not a BIDS data set"):
        require(load(ROOT / "config.yaml", over))


@pytest.mark.bad_input("pretraining cohort", "the decoded cohort itself")
def test_the_runs_that_the_decoder_is_tested_on_are_no_further_cohort(tmp_path):
    tested = Set(tmp_path / "tested").out
    over = tmp_path / "over.yaml"
    over.write_text(f"derivatives: {tested}\npretraining: {{derivatives: {tested}/../out}}\n")
    with pytest.raises(UserError, match="is what the decoder is tested on"):
        require(load(ROOT / "config.yaml", over))


def test_a_copy_of_a_tested_run_is_no_further_cohort_either(tmp_path):
    tested, further = Set(tmp_path / "tested"), Set(tmp_path / "further")
    noise = np.random.default_rng(5).normal(1000, 10, (*further.grid.shape, 20))
    tested.add("sub-01_task-film_run-01")
    further.add("sub-A1_task-rest_run-01", bold=noise)
    over = tmp_path / "over.yaml"
    over.write_text(f"derivatives: {tested.out}\npretraining: {{derivatives: {further.out}}}\n")
    require_apart(load(ROOT / "config.yaml", over))
    further.add("sub-A2_task-rest_run-01")  # other people by name, the same noise
    with pytest.raises(UserError, match=r"sub-A2.*is a copy of .*sub-01_task-film_run-01"):
        require_apart(load(ROOT / "config.yaml", over))


def test_a_copy_of_a_scan_of_wen_2018_is_none_either(tmp_path):
    further = Set(tmp_path / "further")
    further.add("sub-A1_task-rest_run-01")
    over = tmp_path / "over.yaml"
    settings = f"wen2018: {{roots: [{tmp_path}/wen]}}\npreprocess: {{backend: minimal}}\n"
    settings += f"dataset: wen2018\npretraining: {{derivatives: {further.out}}}\n"
    over.write_text(settings)
    chosen = load(ROOT / "config.yaml", ROOT / "configs" / "wen2018.yaml", over)
    require_apart(chosen)
    scan = tmp_path / "wen/video_fmri_dataset/subject1/fmri/seg1/mni/seg1_1_mni.nii.gz"
    scan.parent.mkdir(parents=True)
    (copied,) = further.out.glob("sub-*/func/*_bold.nii.gz")
    shutil.copy(copied, scan)
    with pytest.raises(UserError, match=r"sub-A1.*is a copy of .*seg1_1_mni"):
        require_apart(chosen)


def test_of_a_further_cohort_only_the_tasks_that_are_named_are_read(tmp_path):
    further = Set(tmp_path, volumes=40)
    for task in ("rest", "rest2", "motor"):
        further.add(f"sub-A1_task-{task}_run-01", events=None)
    chosen = BoldSettings(voxel_mm=12, confounds="none")

    def read(*tasks):
        found = resting_bold(further.out, "A1", chosen, tasks).meta["runs"]
        return sorted(run["source"].split("_")[1] for run in found.values())

    assert read("rest*") == ["task-rest", "task-rest2"]
    assert read("rest") == ["task-rest"]
    assert len(read()) == 3
    with pytest.raises(UserError, match="of task nap"):
        read("nap")


def test_windows_of_another_length_are_refused_and_not_read_into_the_next_trial(tmp_path):
    files, tables = [], []
    for subject, volumes in (("01", 3), ("02", 4)):
        files.append(tmp_path / f"sub-{subject}.safetensors")
        windows = np.zeros((4, volumes, len(VOXELS)), np.float16)
        write_arrays(
            files[-1], {"windows": windows, "voxels": VOXELS}, {"affine": np.eye(4).tolist()}
        )
        tables.append(tmp_path / f"sub-{subject}_trials.tsv")
        rows = {"trial": range(4), "clip_id": list("abcd"), "stim_file": "f", "split": "train"}
        write_table(tables[-1], pd.DataFrame(rows | {"onset": 0.0, "valid": 1.0, "repeat": 1}))
    for read in (cohort.stored, cohort.load):
        with pytest.raises(UserError, match=r"windows of 4 volumes, and .* of 3"):
            read(["01", "02"], files, tables, ("train",))


def test_the_workflow_begins_at_the_further_cohort_on_several_gpus(tmp_path):
    further = Set(tmp_path / "further", volumes=4)
    for subject in ("A1", "A2"):
        further.add(f"sub-{subject}_task-rest_run-01", events=None)
    over = tmp_path / "over.yaml"
    further.add("sub-A1_task-motor_run-01", events=None)
    chosen = f"pretraining: {{derivatives: {further.out}, tasks: [rest]}}"
    over.write_text(f"gpus: 2\n{chosen}\n")
    target = "models/full/all/pretrain.safetensors"
    asked = ("--dry-run", "--printshellcmds", target, "--configfile", TINY, over)
    done = snakemake(tmp_path / "run", *asked)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    found = counted(said)
    assert (found["pretraining_bold"], found["pretraining"], found["pretrain"]) == (2, 1, 1)
    launch = "torchrun --standalone --nproc-per-node 2 $SCRIPTS/"
    assert f"{launch}pretraining.py --bold data/pretraining --subject A1 --subject A2" in said
    assert said.count(" --task rest --threads") == 2
    assert "task-motor" not in said
    start = "--start models/full/pretraining.safetensors"
    assert re.search(rf"{re.escape(launch)}pretrain\.py .*{re.escape(start)}", said)
