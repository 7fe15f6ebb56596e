"""The phantom on disk: valid BIDS, right headers, same bytes each time."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from llm4brain.errors import UserError
from llm4brain.io import Arrays
from llm4brain.phantom.dataset import (
    write_cohort_films,
    write_description,
    write_participants,
    write_video_films,
)
from llm4brain.phantom.scans import write_subject
from llm4brain.sections import PhantomSettings

SCRIPTS = Path(__file__).parents[1] / "scripts"
TINY = PhantomSettings(
    films=2,
    test_films=1,
    clips_per_film=4,
    repeats=1,
    test_repeats=2,
    video_films=1,
    frame_size=32,
    fps=2,
    captions_per_clip=2,
    voxel_mm=16,
    snr=1,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write_participants(root / "bids", ["01"])
    write_description(root / "bids", {"seed": 7})
    write_cohort_films(root / "bids" / "stimuli", TINY, 7)
    write_subject(root / "bids", root / "truth.safetensors", TINY, "01", 7, {"seed": 7})
    write_video_films(root / "video", TINY, 7, {"seed": 7})
    return root


def _bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_validator_finds_no_error(made):
    validator = Path(sys.executable).parent / "bids-validator-deno"
    done = subprocess.run(
        [validator, made / "bids", "--ignoreWarnings"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_make_the_same_bytes(made, tmp_path):
    """In processes of their own, so with other hash seeds and nothing cached."""
    common = ["--settings", TINY.model_dump_json(), "--seed", "7"]
    write_participants(tmp_path / "bids", ["01"])
    for command in (
        ["phantom_description.py", "--out-dir", tmp_path / "bids"],
        ["phantom_films.py", "--out-dir", tmp_path / "bids" / "stimuli"],
        [
            "phantom_subject.py", "--out-dir", tmp_path / "bids", "--subject", "01",
            "--truth", tmp_path / "truth.safetensors",
        ],
        ["phantom_video_films.py", "--out-dir", tmp_path / "video"],
    ):  # fmt: skip
        subprocess.run([sys.executable, SCRIPTS / command[0], *command[1:], *common], check=True)
    before, after = _bytes(made / "bids"), _bytes(tmp_path / "bids")
    for name in ("dataset_description.json",):  # holds the record of what made it
        before.pop(name), after.pop(name)
    assert before == after
    before, after = _bytes(made / "video"), _bytes(tmp_path / "video")
    before.pop("films.json"), after.pop("films.json")
    assert before == after
    first, second = Arrays(made / "truth.safetensors"), Arrays(tmp_path / "truth.safetensors")
    assert first.names == second.names
    for name in first.names:
        np.testing.assert_array_equal(first[name], second[name])


def test_fewer_films_and_runs_leave_nothing_of_the_more(tmp_path):
    def make(settings):
        write_cohort_films(tmp_path / "bids" / "stimuli", settings, 7)
        write_video_films(tmp_path / "video", settings, 7, {})
        truth = tmp_path / "truth.safetensors"
        write_subject(tmp_path / "bids", truth, settings, "01", 7, {})
        kinds = ("bids/stimuli/*.mp4", "video/*.mp4", "bids/sub-01/func/*_bold.nii.gz")
        return [len(list(tmp_path.glob(kind))) for kind in kinds]

    assert make(TINY.model_copy(update={"films": 3, "video_films": 2})) == [3, 2, 4]
    assert make(TINY) == [2, 1, 3]
    assert len(list((tmp_path / "bids/stimuli").glob("*.tsv"))) == 2
    assert (tmp_path / "video" / "films.json").exists()


def test_another_seed_is_another_cohort(made, tmp_path):
    write_cohort_films(tmp_path, TINY, 8)
    captions = "film-01_captions.tsv"
    before = made / "bids" / "stimuli" / captions
    assert (tmp_path / captions).read_text() != before.read_text()


def test_headers_say_where_and_when(made):
    func = made / "bids" / "sub-01" / "func"
    runs = sorted(func.glob("*_bold.nii.gz"))
    assert [run.name[:25] for run in runs] == [f"sub-01_task-film_run-0{k}_b" for k in (1, 2, 3)]
    image = nib.load(runs[0])
    assert image.header.get_data_dtype() == np.int16
    assert image.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(image.header.get_zooms(), (16, 16, 16, 2))
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.header.get_sform(), image.header.get_qform(), atol=1e-3)
    assert np.abs(image.affine[:3, :3] - 16 * np.eye(3)).max() > 0.1, "the grid is oblique"
    assert image.shape[3] == (8 + 4 * 4 + 16) / 2
    assert json.loads((func / f"{runs[0].name[:-7]}.json").read_text())["RepetitionTime"] == 2


def test_events_hold_one_row_a_run(made):
    truth = Arrays(made / "truth.safetensors")
    for run in truth.meta["runs"]:
        name = f"sub-01_task-film_run-{run['number']:02d}_events.tsv"
        events = pd.read_csv(made / "bids" / "sub-01" / "func" / name, sep="\t")
        assert len(events) == 1
        row = events.iloc[0]
        assert (row.onset, row.duration, row.trial_type) == (8, 16, "film")
        assert row.stim_file == run["stim_file"]
        assert (made / "bids" / "stimuli" / row.stim_file).is_file()


def test_it_says_that_it_is_simulated(made):
    description = json.loads((made / "bids" / "dataset_description.json").read_text())
    assert "SIMULATED" in description["Name"]
    assert (made / "bids" / "README").read_text().startswith("SIMULATED DATA")


def test_a_subject_without_films_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"film-01\.mp4: is not a film .* make the stimuli first"):
        write_subject(tmp_path, tmp_path / "truth.safetensors", TINY, "01", 7, {})
    assert not list(tmp_path.iterdir())
