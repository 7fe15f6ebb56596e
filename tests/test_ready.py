"""What settings name must be there: told in one line, before the first job."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from bold_data import SPACE, STEM, Set
from leak_data import step
from painted import even, film
from preprocess_data import write_run
from typer.testing import CliRunner

from llm4brain import config
from llm4brain.cli import app
from llm4brain.errors import UserError
from llm4brain.io import read_table
from llm4brain.preprocess.names import Recording
from llm4brain.ready import recordings, require, require_runs

ROOT = Path(__file__).parent.parent
STEMS = ["ses-1/func/sub-01_ses-1_task-s01e01", "ses-1/func/sub-01_ses-1_task-rest"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data set"
    names = [f"sub-01/{stem}_bold.nii.gz" for stem in STEMS]
    names += [f"stimuli/{split}/{k}.mp4" for split in ("train", "val", "test") for k in "ab"]
    for name in (*names, "dataset_description.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def settings(data, **more):
    splits = {"train": ["train/*"], "validation": ["val/*"], "test": ["test/*"]}
    own = {"dataset": "bids", "bids_dir": str(data), "subjects": ["01"], "splits": splits}
    return config.check(yaml.safe_load((ROOT / "config.yaml").read_text()) | own | more)


def test_a_data_set_that_is_whole_is_ready(data):
    require(settings(data, tasks=["s01*"]))
    assert [run["task"] for run in recordings(data, "01", ["s01*"])] == ["s01e01"]
    assert len(recordings(data, "01", [])) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tasks": ["film"]}, "sub-01: holds no BOLD run of task film; correct bids_dir or tasks"),
        ({"subjects": ["02"]}, "sub-02: holds no BOLD run; correct bids_dir or subjects"),
        (
            {"splits": {"train": ["train/*"], "validation": ["v/*"], "test": ["test/*"]}},
            r"splits.validation: no file of .*stimuli is like v/\*",
        ),
        (
            {"splits": {"train": list("0123456"), "validation": ["val/*"], "test": ["test/*"]}},
            "stimuli: lacks 0, 1, 2, 3, 4 and 2 others; correct splits",
        ),
        (
            {"video_llm": {"source": "path:nowhere"}},
            "path:nowhere: holds no config.json; name a Hugging Face folder in video_llm.source",
        ),
        (
            {"evaluate": {"clip_model": "path:nowhere"}},
            "path:nowhere: holds no config.json; name a Hugging Face folder in evaluate.clip_model",
        ),
        ({"splits": {"table": "nowhere.tsv"}}, r"nowhere.tsv: does not exist"),
        (
            {"splits": {"train": ["{x}.mp4", "b"], "validation": ["c"], "test": ["d"]}},
            r"^{x}.mp4: has {x} in its name, which the workflow takes for a wildcard; rename it",
        ),
        ({"derivatives": "to/{x}"}, r"to/{x}: has {x} in its name"),
    ],
)
@pytest.mark.bad_input("settings", "`{more}`")
def test_what_is_missing_is_one_line(data, more, said):
    with pytest.raises(UserError, match=said) as error:
        require(settings(data, **more))
    assert "\n" not in str(error.value)


@pytest.fixture
def watched(data):
    """The data set with a run, and films that decode."""
    for k, path in enumerate(sorted(data.glob("stimuli/*/*.mp4"))):
        film(path, even(50 + k, 10))
    shown = "onset\tduration\tstim_file\n0\t5\ttrain/a.mp4\n40\t9\tother.mp4\n"
    write_run(data, "sub-01_ses-1_task-s01e01", events=shown)
    return data


def asked(data):
    """`check` of the data set, from where it lies."""
    own = {"dataset": "bids", "bids_dir": str(data), "subjects": ["01"], "tasks": ["s01*"]}
    own["splits"] = {"train": ["train/*"], "validation": ["val/*"], "test": ["test/*"]}
    (data.parent / "my.yaml").write_text(yaml.safe_dump(own))
    files = [str(ROOT / "config.yaml"), str(data.parent / "my.yaml")]
    return CliRunner().invoke(app, ["check", *(x for f in files for x in ("--configfile", f))])


def test_odd_names_of_films_are_names(data):
    """What a shell, a format or a pattern could take for more than a name."""
    odd = ["a %s 100%.mp4", 'it\'s "b".mp4', "c {} $HOME.mp4", "d[1]*?.mp4", "-e;f.mp4"]
    for k, name in enumerate(odd):
        film(data / "stimuli" / name, even(80 + k, 10))
    splits = {"train": odd[:3], "validation": odd[3:4], "test": odd[4:]}
    require(settings(data, splits=splits))
    out = data.parent / "clips.tsv"
    step("clips")(data / "stimuli", json.dumps(splits), out, '{"duration": 4}')
    assert list(read_table(out)["stim_file"].unique()) == odd


def test_check_opens_every_film(watched, monkeypatch):
    monkeypatch.chdir(watched.parent)
    before = {path: path.stat().st_mtime_ns for path in watched.rglob("*")}
    assert "data: ok" in asked(watched).output
    assert {path: path.stat().st_mtime_ns for path in watched.rglob("*")} == before
    hole = watched / "stimuli" / "test" / "b.mp4"
    film(hole, even(50, 10) + even(50, 10, 8.0))
    found = asked(watched)
    assert found.exit_code == 1
    line = f"{hole}: lacks frames: one is shown from 4.900 to 8.000 s; encode it again: ffmpeg"
    assert line in found.output
    hole.write_bytes(b"no film")
    assert f"{hole}: does not decode as video" in asked(watched).output


def test_check_reads_relative_paths_from_where_the_run_will(watched, monkeypatch):
    data = watched
    bold = next(data.glob("sub-01/**/sub-01_ses-1_task-s01e01*_bold.nii.gz"))
    monkeypatch.chdir(data.parent)  # `check` goes to the folder that it is given
    own = {"dataset": "bids", "bids_dir": "../data set", "subjects": ["01"], "tasks": ["s01*"]}
    own["splits"] = {"train": ["train/*"], "validation": ["val/*"], "test": ["test/*"]}
    (data.parent / "my.yaml").write_text(yaml.safe_dump(own))
    (data.parent / "study").mkdir()
    asked = ["check", "--configfile", str(ROOT / "config.yaml"), "--configfile", "my.yaml"]
    for where, said in (("study", "data: ok"), ("elsewhere", "elsewhere: is not a folder")):
        monkeypatch.chdir(data.parent)
        found = CliRunner().invoke(app, [*asked, "--directory", where])
        assert said in found.output
        assert ("events name stimuli that splits do not: other.mp4" in found.stderr) is (
            where == "study"
        )
    bold.with_name(bold.name.replace(".nii.gz", ".json")).write_text('{"RepetitionTime": 2000}')
    monkeypatch.chdir(data.parent)
    found = CliRunner().invoke(app, [*asked, "--directory", "study"])
    assert "has a RepetitionTime of 2000 in its JSON sidecar" in found.output
    monkeypatch.chdir(data.parent)
    assert "is not a BIDS data set" in CliRunner().invoke(app, asked).output


def filled(data, text, *names):
    for name in names:
        (data / name).write_bytes(text)


SCANS = [f"sub-01/{stem}_bold.nii.gz" for stem in STEMS]


def test_the_same_scan_in_two_runs_is_refused(data):
    filled(data, gzip.compress(b"scan" * 9999), *SCANS)
    with pytest.raises(UserError, match=f"{STEMS[0]}_bold.* same scan as .*{STEMS[1]}_bold"):
        require(settings(data))
    require(settings(data, tasks=["s01*"]))  # the other run is not read
    filled(data, gzip.compress(b"scan" * 9999, 1), SCANS[0])  # packed otherwise
    with pytest.raises(UserError, match="holds the same scan as"):
        require(settings(data))
    filled(data, gzip.compress(b"Scan" * 9999), SCANS[0])
    require(settings(data))


@pytest.mark.bad_input("films", "one film in two splits, under two names")
def test_the_same_film_on_both_sides_of_a_split_is_refused(data):
    filled(data, b"film" * 9999, "stimuli/train/a.mp4", "stimuli/train/b.mp4")
    require(settings(data))
    filled(data, b"film" * 9999, "stimuli/test/b.mp4")
    with pytest.raises(UserError, match=r"test/b.mp4: is the same film as .*train/a.mp4, which is"):
        require(settings(data))


@pytest.mark.bad_input("events", "a link to a file that is not there")
def test_a_link_that_leads_nowhere_is_told(data):
    link = data / f"sub-01/{STEMS[0]}_events.tsv"
    link.symlink_to("nowhere.tsv")
    with pytest.raises(UserError, match=r"_events.tsv: is a link to nowhere.tsv, which is not"):
        require(settings(data))


def derived(tmp_path, **more):
    """Settings of a data set with derivatives of two runs, and the set itself."""
    made = Set(tmp_path)
    made.add()
    films = [f"film-{k:02d}.mp4" for k in range(1, 5)]
    (made.raw / "stimuli").mkdir()
    for name in films:
        (made.raw / "stimuli" / name).touch()
    splits = {"train": films[:2], "validation": films[2:3], "test": films[3:]}
    own = {"derivatives": str(made.out), "bold": {"voxel_mm": 12}, "splits": splits} | more
    return made, settings(made.raw, **own)


def test_what_the_bold_rule_would_find_is_found_without_reading_a_run(tmp_path, capsys):
    made, chosen = derived(tmp_path)
    run = Recording.parse(f"{STEM}_bold.nii.gz")
    require(chosen)
    require_runs(chosen)
    events = made.raw / run.folder / f"{STEM}_events.tsv"
    events.write_text("onset\tduration\tstim_file\n0\t40\tfilm 1.mp4\n")
    with pytest.raises(
        UserError, match=r"no film of splits is shown .* \(events name film 1.mp4\)"
    ):
        require_runs(chosen)
    events.write_text("onset\tduration\tstim_file\n0\t40\tFilm-01.mp4 \n")
    require_runs(chosen)
    made.confounds(run, made.table(7))
    with pytest.raises(UserError, match="has 7 rows for 80 volumes"):
        require_runs(chosen)
    made.confounds(run, made.table(80))
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5)), np.eye(4)), made.out / run.mask(SPACE, "2"))
    with pytest.raises(UserError, match="is not on the grid of its BOLD"):
        require_runs(chosen)


def test_broken_links_of_derivatives_are_told(tmp_path):
    made, chosen = derived(tmp_path)
    run = Recording.parse(f"{STEM}_bold.nii.gz")
    for name, said in (
        (run.mask(SPACE, "2"), "brain_mask.nii.gz: is a link to nowhere, which is not there"),
        (run.confounds(), "timeseries.tsv: is a link to nowhere, which is not there"),
    ):
        kept = (made.out / name).read_bytes()
        (made.out / name).unlink()
        (made.out / name).symlink_to("nowhere")
        with pytest.raises(UserError, match=said):
            require_runs(chosen)
        (made.out / name).unlink()
        (made.out / name).write_bytes(kept)
    require_runs(chosen)


def test_headers_and_sidecars_of_a_pretraining_cohort_are_looked_at(tmp_path):
    _, chosen = derived(tmp_path)
    further = Set(tmp_path / "further")
    run = further.add("sub-100_task-rest")
    more = {"pretraining": {"derivatives": str(further.out)}}
    chosen = config.check(chosen.model_dump(mode="json") | more)
    require_runs(chosen)
    sidecar = further.out / run.bold_json(SPACE, "2")
    sidecar.write_text('{"RepetitionTime": 1500}')
    with pytest.raises(UserError, match="has a RepetitionTime of 1500 in its JSON sidecar"):
        require_runs(chosen)


def test_check_says_what_the_clip_table_would(watched, monkeypatch):
    monkeypatch.chdir(watched.parent)
    short = watched / "stimuli" / "val" / "a.mp4"
    film(short, even(10, 10))
    found = asked(watched)
    assert "val/a.mp4: lasts 1 s, less than a clip; lower clips.duration" in found.output
