"""Derivatives and events -> clean BOLD: planted signals stay, and confounds go."""

import numpy as np
import pandas as pd
import pytest
from bold_data import SETTINGS, SPACE, Set

from llm4brain.errors import UserError
from llm4brain.io import Arrays, stream_arrays
from llm4brain.preprocess import clean, events
from llm4brain.preprocess.bold import labels, subject_bold
from llm4brain.preprocess.names import Recording
from llm4brain.sections import BoldSettings


@pytest.fixture
def data(tmp_path):
    return Set(tmp_path)


def test_the_file_is_as_the_architecture_says(data, tmp_path):
    data.add()
    data.add("sub-01_task-film_run-02", events="onset\tduration\tstim_file\n-2\t100\tb.mp4\n")
    made = subject_bold(data.raw, data.out, "01", SETTINGS)
    stream_arrays(tmp_path / "sub-01.safetensors", made.shapes, made.arrays(), made.meta)
    stored = Arrays(tmp_path / "sub-01.safetensors")
    assert stored.names == ["run-01", "run-02", "valid-01", "valid-02", "voxels"]
    voxels = int(data.grid.brain.sum())
    assert stored["run-01"].shape == (80, voxels)
    assert stored["run-01"].dtype == np.float32
    assert stored["valid-01"].dtype == bool
    assert stored["voxels"].dtype == np.int16
    assert stored["voxels"].shape == (voxels, 3)
    assert stored.meta["shape"] == list(data.grid.shape)
    np.testing.assert_allclose(stored.meta["affine"], data.grid.affine)
    assert stored.meta["runs"]["02"] == {
        "events": [{"onset": -2.0, "duration": 100.0, "stim_file": "b.mp4"}],
        "source": f"sub-01_task-film_run-02_space-{SPACE}_res-2_desc-preproc_bold.nii.gz",
        "start_time": 0.75,
        "tr": 1.5,
        "volumes": 80,
    }


def test_runs_are_z_scored_and_their_confounds_gone(data):
    rng = np.random.default_rng(3)
    table = data.table(data.volumes)
    nuisance = table["trans_y"].to_numpy() + 2 * table["csf"].to_numpy()
    drift = np.linspace(0, 5, data.volumes)
    noise = rng.standard_normal((*data.grid.shape, data.volumes))
    data.add(bold=1000 + noise + 10 * nuisance + 20 * drift)
    run = data.read().arrays["run-01"]
    np.testing.assert_allclose(run.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(run.std(axis=0, ddof=1), 1, atol=1e-4)
    for gone in (table["trans_y"], table["csf"], table["cosine00"], drift):
        wave = (gone - gone.mean()) / gone.std()
        assert np.abs(run.T @ np.asarray(wave)).max() / data.volumes < 1e-3


def test_fewer_confounds_leave_what_they_do_not_name(data):
    table = data.table(data.volumes)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((*data.grid.shape, data.volumes))
    data.add(bold=1000 + noise + 10 * table["csf"].to_numpy())
    left = {}
    for name in ("simple", "motion", "none"):
        run = data.read(BoldSettings(voxel_mm=12, confounds=name)).arrays["run-01"]
        left[name] = np.abs(np.corrcoef(run.mean(axis=1), table["csf"])[0, 1])
    assert left["simple"] < 0.05
    assert left["motion"] > 0.5
    assert left["none"] > 0.9


def test_without_cosines_the_high_pass_is_the_setting_s():
    volumes, tr = 200, 2.0
    time = tr * np.arange(volumes)
    slow, fast = np.sin(2 * np.pi * time / 300), np.sin(2 * np.pi * time / 20)
    signals = (1000 + slow + fast)[:, None]
    cleaned = clean.clean_run(signals, pd.DataFrame(), tr, BoldSettings(high_pass=0.01))[:, 0]
    assert abs(np.corrcoef(cleaned, slow)[0, 1]) < 0.05
    assert np.corrcoef(cleaned, fast)[0, 1] > 0.95
    # where cosines stand among the confounds, no second filter touches what they leave
    one = pd.DataFrame({"cosine00": np.cos(np.pi * (np.arange(volumes) + 0.5) / volumes)})
    kept = clean.clean_run(signals, one, tr, BoldSettings(high_pass=0.01))[:, 0]
    assert abs(np.corrcoef(kept, slow)[0, 1]) > 0.3


def test_moved_and_unsteady_volumes_are_marked_and_never_deleted(data):
    run = data.add()
    table = data.table(data.volumes)
    table.loc[30, "framewise_displacement"] = 1.7
    table["non_steady_state_outlier00"] = (np.arange(data.volumes) == 0).astype(int)
    data.confounds(run, table)
    made = data.read()
    assert list(np.flatnonzero(~made.arrays["valid-01"])) == [0, 30]
    assert len(made.arrays["run-01"]) == data.volumes
    loose = data.read(BoldSettings(voxel_mm=12, fd_threshold=2.0))
    assert list(np.flatnonzero(~loose.arrays["valid-01"])) == [0]


def test_a_bright_start_before_steady_state_bends_nothing(data):
    rng = np.random.default_rng(5)
    wave = rng.standard_normal((*data.grid.shape, data.volumes))
    bright = wave.copy()
    bright[..., 0] += 300
    run = data.add(bold=1000 + bright)
    table = data.table(data.volumes)
    table["non_steady_state_outlier00"] = (np.arange(data.volumes) == 0).astype(int)
    data.confounds(run, table)
    found = data.read().arrays["run-01"]
    signals = wave[tuple(data.grid.voxels.T)].T
    close = [np.corrcoef(found[1:, k], signals[1:, k])[0, 1] for k in range(0, 400, 40)]
    assert np.mean(close) > 0.7  # what 27 regressors of 80 volumes leave


def test_a_word_in_a_confound_that_is_not_read_is_nobody_s_business(data):
    run = data.add()
    data.confounds(run, data.table(data.volumes).assign(note="good"))
    assert data.read().arrays["run-01"].any()


def test_finer_data_are_averaged_onto_the_shared_grid(data):
    """A wave planted at a place is found at that place, and noise falls by the averaging."""
    fine = np.array(data.grid.affine)
    fine[:3, :3] /= 3
    fine[:3, 3] -= 4  # so that the box is covered from edge to edge
    shape = tuple(3 * n for n in data.grid.shape)
    rng = np.random.default_rng(2)
    wave = rng.standard_normal(data.volumes)
    place = np.argwhere(data.grid.brain)[300]
    mm = data.grid.affine[:3, :3] @ place + data.grid.affine[:3, 3]
    index = np.indices(shape).reshape(3, -1)
    away = np.linalg.norm((fine[:3, :3] @ index + fine[:3, 3:]).T - mm, axis=1).reshape(shape)
    bold = 1000 + 5 * rng.standard_normal((*shape, data.volumes))
    bold += 10 * np.exp(-((away / 12) ** 2))[..., None] * wave
    data.add(bold=bold, affine=fine)
    made = data.read(BoldSettings(voxel_mm=12, confounds="none"))
    match = np.abs(wave @ made.arrays["run-01"]) / data.volumes
    np.testing.assert_array_equal(made.arrays["voxels"][match.argmax()], place)
    assert match.max() > 0.9


def test_voxels_outside_the_run_s_own_mask_are_zero(data):
    mask = data.grid.brain.copy()
    lost = tuple(np.argwhere(mask)[:50].T)
    mask[lost] = False
    data.add(mask=mask)
    run = data.read().arrays["run-01"]
    assert not run[:, :50].any()
    assert run[:, 50:].any(axis=0).all()


def test_all_subjects_share_one_voxel_list(data):
    data.add()
    data.add(
        "sub-02_task-film_run-01", bold=900 + np.random.default_rng(9).random((20, 20, 20, 80))
    )
    first, second = (data.read(subject=s) for s in ("01", "02"))
    np.testing.assert_array_equal(first.arrays["voxels"], second.arrays["voxels"])


def test_arrays_are_announced_as_they_are(data):
    data.add()
    made = data.read()
    assert made.shapes == {k: (a.dtype.name, a.shape) for k, a in made.arrays.items()}


def test_same_arrays_twice(data):
    data.add()
    once, twice = data.read(), data.read()
    assert once.meta == twice.meta
    for name, array in once.arrays.items():
        assert array.tobytes() == twice.arrays[name].tobytes()


def test_events_of_every_encoding(data, tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\tstim_file\n6\t3\tclips/a b.mp4\n0\t3\tn/a\n3\tn/a\tc.mp4\n")
    assert events.read_events(path, 60.0) == [
        {"onset": 3.0, "duration": None, "stim_file": "c.mp4"},
        {"onset": 6.0, "duration": 3.0, "stim_file": "clips/a b.mp4"},
    ]
    path.write_text("onset\tduration\tstim_file\n0\t3\t0012\n3\t3\tn/a\n")
    assert [event["stim_file"] for event in events.read_events(path, 60.0)] == ["0012"]
    path.write_text("onset\tduration\ttrial_type\n0\t0.04\tframe\n")
    assert events.read_events(path, 60.0) == []


def test_cells_that_hold_a_space_or_n_a_are_read_as_meant(tmp_path, capsys):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\tstim_file \n0\t3\tn/a  \n3\t N/A\ta.mp4\n6\t3\n9\t3\t\n")
    assert events.read_events(path, 60.0) == [
        {"onset": 3.0, "duration": None, "stim_file": "a.mp4"}
    ]
    assert "column 'stim_file ' is read without its spaces" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0\t12,0\ta.mp4", "row 2 has duration '12,0', which is not a number of seconds"),
        ("1,5\t12\ta.mp4", "row 2 has onset '1,5', which is not a number of seconds"),
        ("-inf\t12\ta.mp4", "row 2 has onset '-inf', which is not a number"),
        ("0\tinf\ta.mp4", "row 2 has duration 'inf', which is not a number"),
        ("0\t-3\ta.mp4", "row 2 has a duration of -3 s"),
        ("n/a\t3\ta.mp4", "row 2 has no onset"),
    ],
)
def test_a_number_that_cannot_be_read_is_told_with_its_row(tmp_path, row, said):
    (tmp_path / "events.tsv").write_text(f"onset\tduration\tstim_file\n{row}\n")
    with pytest.raises(UserError, match=said):
        events.read_events(tmp_path / "events.tsv", 60.0)


def test_a_tab_at_the_end_of_each_row_shifts_no_column(tmp_path):
    (tmp_path / "events.tsv").write_text("onset\tduration\tstim_file\n3\t12\ta.mp4\t\n")
    with pytest.warns(pd.errors.ParserWarning):
        found = events.read_events(tmp_path / "events.tsv", 60.0)
    assert found == [{"onset": 3.0, "duration": 12.0, "stim_file": "a.mp4"}]


def test_events_at_the_root_hold_for_every_run_without_its_own(data):
    data.add(events=None)
    data.add("sub-01_task-film_run-02")
    (data.raw / "task-film_events.tsv").write_text("onset\tduration\tstim_file\n1\t50\troot.mp4\n")
    (data.raw / "task-rest_events.tsv").write_text("onset\tduration\tstim_file\n1\t50\tno.mp4\n")
    runs = data.read().meta["runs"]
    assert runs["01"]["events"][0]["stim_file"] == "root.mp4"
    assert runs["02"]["events"][0]["stim_file"] == "film-01.mp4"


def test_runs_without_a_film_are_left_out_and_said(data, capsys):
    data.add()
    data.add("sub-01_task-rest_run-02", events=None)
    assert list(data.read().meta["runs"]) == ["01"]
    assert "task-rest_run-02: no event with a stim_file, left out" in capsys.readouterr().err


def test_only_runs_of_the_named_tasks_are_read(data):
    data.add()
    data.add("sub-01_task-s01e01_run-02")
    for tasks, found in (
        (["film"], ["01"]),
        (["s01*"], ["02"]),
        (["film", "s01e01"], ["01", "02"]),
    ):
        assert list(subject_bold(data.raw, data.out, "01", SETTINGS, tasks).runs) == found
    with pytest.raises(UserError, match=r"sub-01: holds no \*_bold.nii.gz of task rest or s02\*"):
        subject_bold(data.raw, data.out, "01", SETTINGS, ["rest", "s02*"])


def test_what_was_made_of_a_run_that_is_no_more_is_left_out_and_said(data, capsys):
    data.add()
    data.add("sub-01_task-film_run-02")
    assert set(data.read().meta["runs"]) == {"01", "02"}
    for path in (data.raw / "sub-01" / "func").glob("*_run-02_*"):
        path.unlink()
    assert set(data.read().meta["runs"]) == {"01"}
    assert "sub-01_task-film_run-02: is not a run of" in capsys.readouterr().err


def test_sessions_whose_run_numbers_repeat_keep_their_names(data):
    stems = [f"sub-01_ses-{s}_task-film_run-1" for s in "12"]
    for stem in stems:
        data.add(stem, resolution=None)
    assert list(data.read().meta["runs"]) == ["ses-1_task-film_run-1", "ses-2_task-film_run-1"]
    assert labels([Recording.parse(f"{s}_bold.nii.gz") for s in stems[:1]]) == ["1"]
