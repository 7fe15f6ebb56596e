"""A synthetic copy of Wen 2018, with its traps, from disk to table 1 by the real workflow."""

import os
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import tiny_models
import wen2018_data as wen
import yaml
from cifti_data import area_of, axis, write_atlas, write_mesh
from conftest import ROOT, TINY, jobs, snakemake

STIMULI = ("seg1", "seg2", "seg3", "test1", "test2")
pytestmark = pytest.mark.long

LEARNT = ("encoder", "align", "adapt", "tune")  # tiny as in configs/tiny.yaml


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two subjects under two roots, a study beside them, and its settings."""
    home = tmp_path_factory.mktemp("wen")
    one, other = home / "one" / "video_fmri_dataset", home / "other" / "10_4231"
    wen.data_set(one, [1], STIMULI, bold=wen.noise)
    wen.data_set(other / "video_fmri_dataset", [3], STIMULI, bold=wen.noise)
    wen.films(one, STIMULI)
    captioned(home, STIMULI)
    settings = walking(home)
    settings |= {
        "wen2018": {"roots": ["../one", "../other", "../captions"]},
        "subjects": ["01", "03"],
        "splits": {
            "train": ["seg1.mp4", "seg2.mp4"],
            "validation": ["seg3.mp4"],
            "test": ["test1.mp4", "test2.mp4"],
        },
    }
    settings["bold"] |= {"voxel_mm": wen.EDGE}
    (home / "wen.yaml").write_text(yaml.safe_dump(settings))
    return home


def captioned(home, stimuli):
    """Captions of one's own, in a root of their own."""
    for k, name in enumerate(stimuli):
        words = np.random.default_rng(k).choice(tiny_models.WORDS, (30, 5))
        rows = [(16 * i, 16, " ".join(row)) for i, row in enumerate(words)]
        path = home / "captions" / "stimuli" / f"{name}_captions.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows, columns=["onset", "duration", "caption"])
        table.to_csv(path, sep="\t", index=False)


def walking(home):
    """The shipped settings with models so small that they walk."""
    shipped = yaml.safe_load((ROOT / "configs" / "wen2018.yaml").read_text())
    tiny = yaml.safe_load(TINY.read_text())
    video_llm = tiny_models.blip2(home / "video_llm", "llama")
    return (
        shipped
        | {name: tiny[name] for name in LEARNT}
        | {
            "clips": shipped["clips"] | {"duration": 16.0},
            "captions": {"train": "generated", "score": "human"},
            "video_llm": {"source": f"path:{video_llm}", "max_new_tokens": 6},
            "evaluate": {
                "n_bootstrap": 50,
                "n_permutations": 99,
                "meteor": False,
                "sentence_model": f"path:{tiny_models.sentence(home / 'sentence')}",
            },
        }
    )


@pytest.fixture(scope="module")
def run(study):
    done = snakemake(study / "study", "results/table1.csv", "--configfile", study / "wen.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return study / "study"


def planned(study, *more):
    return jobs(study / "study", "results/table1.csv", "--configfile", study / "wen.yaml", *more)


def test_from_disk_to_table1(run):
    table = pd.read_csv(run / "results" / "table1.csv", dtype={"subject": str})
    assert set(table["subject"]) == {"01", "03", "mean"}
    assert {"model", "model_single", "ridge", "video", "constant"} <= set(table["system"])
    one = table[table["subject"] == "03"].set_index("system")
    assert set(one["n_clips"]) == {60}
    assert set(table["data"]) == {"measured"}


def test_repeats_are_kept_and_the_run_out_of_step_is_not(run):
    for subject, of_test2 in (("01", 10), ("03", 9)):
        path = run / "data" / "features" / f"sub-{subject}_trials.tsv"
        trials = pd.read_csv(path, sep="\t")
        runs = trials.groupby("stim_file")["run"].nunique().to_dict()
        assert runs == {
            "seg1.mp4": 2, "seg2.mp4": 2, "seg3.mp4": 2, "test1.mp4": 10, "test2.mp4": of_test2
        }  # fmt: skip
        assert trials.groupby(["clip_id", "run"]).size().eq(1).all()
        assert trials.groupby("stim_file")["clip_id"].nunique().eq(30).all()
    log = (run / "logs" / "wen2018_subject" / "sub-03.log").read_text()
    assert "sub-03_task-test2_run-09: left out, about 10 s out of step" in log


def test_no_volume_is_copied_and_nothing_is_to_be_done_again(run, study):
    made = list((run / "data").rglob("*_desc-preproc_bold.nii.gz"))
    assert len(made) == 51
    assert all(path.is_symlink() for path in made)
    assert all(path.is_symlink() for path in (run / "data/wen2018/stimuli").iterdir())
    assert planned(study) == {}


def test_a_scan_that_changes_is_read_again(run, study):
    scan = wen.scan_path(study / "other/10_4231/video_fmri_dataset", 3, "seg1", 1)
    kept = scan.with_name("kept")
    shutil.copy2(scan, kept)
    try:
        wen.volume(scan, wen.noise((3, "seg2", 1), (*wen.SHAPE, 245)))
        found = planned(study)
        linked = [n for name, n in found.items() if name.startswith("wen2018_subject")]
        assert linked == [found["bold"]] == [found["pretrain"]] == [1]  # of that subject alone
    finally:
        os.replace(kept, scan)


def test_what_is_missing_is_one_line_before_the_first_job(run, study):
    gone = wen.scan_path(study / "one/video_fmri_dataset", 1, "test2", 10)
    film = study / "one/video_fmri_dataset/stimuli/seg3.mp4"
    for path in (gone, film):
        path.rename(path.with_suffix(".away"))
    try:
        done = snakemake(study / "study", "-n", "--configfile", study / "wen.yaml")
    finally:
        for path in (gone, film):
            path.with_suffix(".away").rename(path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1
    assert len(errors) == 1
    assert "stimuli lack seg3.mp4; subject1 lacks test2_10 of mni" in errors[0]


def test_what_was_made_serves_where_the_download_is_no_more(run, study, tmp_path):
    shutil.copytree(run, tmp_path / "study", symlinks=True)
    shutil.rmtree(tmp_path / "study" / "data" / "wen2018")
    shutil.rmtree(tmp_path / "study" / "data" / "derivatives")
    found = jobs(tmp_path / "study", "results/table1.csv", "--configfile", study / "wen.yaml")
    assert set(found) <= {"table"}  # it names no participants.tsv any more


def test_grayordinates_from_disk_to_table1_and_map(tmp_path):
    stimuli = STIMULI[:-1]
    root = tmp_path / "wen2018" / "video_fmri_dataset"
    wen.data_set(root, [1], stimuli, "cifti", wen.noise, axis())
    wen.films(root, stimuli)
    captioned(tmp_path, stimuli)
    settings = walking(tmp_path)
    settings |= {
        "wen2018": {"roots": ["../wen2018", "../captions"], "kind": "cifti"},
        "subjects": ["01"],
        "splits": {
            "train": ["seg1.mp4", "seg2.mp4"],
            "validation": ["seg3.mp4"],
            "test": ["test1.mp4"],
        },
    }
    settings["bold"] |= {
        "space": "fsLR",
        "rois": ["MT", "V1"],
        "atlas": write_atlas(tmp_path / "areas.dlabel.nii"),
        "surfaces": [write_mesh(tmp_path / f"{k}.surf.gii", k) for k in (-1, 1)],
    }
    (tmp_path / "wen.yaml").write_text(yaml.safe_dump(settings))
    brain_map = "results/full/all/sub-01/map.dscalar.nii"
    asked = ("results/table1.csv", brain_map, "--configfile", tmp_path / "wen.yaml")
    done = snakemake(tmp_path / "study", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "study" / "results" / "table1.csv", dtype={"subject": str})
    one = table[table["subject"] == "01"].set_index("system")
    assert one.loc["model", "n_clips"] == 30
    assert set(table["data"]) == {"measured"}
    linked = list((tmp_path / "study" / "data").rglob("*_space-fsLR_den-91k_bold.dtseries.nii"))
    assert len(linked) == 16
    assert all(path.is_symlink() for path in linked)
    image = nib.load(tmp_path / "study" / brain_map)
    read = np.flatnonzero(area_of(axis()) > 0)  # MT and V1 alone
    assert image.header.get_axis(1) == axis()[read]
    assert image.get_fdata().any()
