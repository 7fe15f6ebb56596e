"""The clip table, and windows in seconds turned into volumes."""

import doctest

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4brain import clips
from llm4brain.clips import Run, clip_table, cut_windows, first_volume
from llm4brain.errors import UserError
from llm4brain.sections import ClipSettings, Splits
from llm4brain.showings import average_repeats

SPLITS = Splits(train=["a.mp4"], validation=["b.mp4"], test=["sub dir/c.mp4"])
SETTINGS = ClipSettings(lag=4, window=8)
SECONDS = {"a.mp4": 40.0, "b.mp4": 22.5, "sub dir/c.mp4": 12.0}


def table(duration=4.0):
    return clip_table(SECONDS, SPLITS, duration)[0]


def run(events, volumes=60, tr=2.0, start=0.0, label="01", voxels=3, bold=None):
    if bold is None:
        # each volume holds its own number
        bold = np.repeat(np.arange(volumes, dtype=np.float32)[:, None], voxels, axis=1)
    keys = ("onset", "duration", "stim_file")
    rows = [dict(zip(keys, e, strict=True)) for e in events]
    return Run(label, bold, np.ones(len(bold), bool), tr, start, rows)


def test_examples_of_the_docstrings():
    failed, tried = doctest.testmod(clips)
    assert tried > 0
    assert failed == 0


def test_clip_table_cuts_whole_clips_and_says_what_is_left():
    made, rest = clip_table(SECONDS, SPLITS, 4.0)
    assert list(made.columns) == list(clips.CLIP_COLUMNS)
    assert list(made["clip_id"][:2]) == ["a_0000.0", "a_0004.0"]
    assert made.groupby("stim_file").size().to_dict() == {
        "a.mp4": 10,
        "b.mp4": 5,
        "sub dir/c.mp4": 3,
    }
    assert rest == {"b.mp4": pytest.approx(2.5)}
    assert made.groupby("stim_file")["split"].nunique().eq(1).all()
    assert made["clip_id"].is_unique
    assert not made["clip_id"].str.contains("[ /]").any()


def test_a_film_a_frame_short_still_gives_its_last_clip():
    made, rest = clip_table({**SECONDS, "a.mp4": 39.97}, SPLITS, 4.0)
    assert (made["stim_file"] == "a.mp4").sum() == 10
    assert "a.mp4" not in rest


@pytest.mark.bad_input("films", "names that differ by a space and `_`", "shorter than a clip")
def test_clip_names_that_collide_and_stimuli_too_short():
    splits = Splits(train=["a b.mp4"], validation=["a_b.mp4"], test=["c.mp4"])
    with pytest.raises(UserError, match="name of another stimulus"):
        clip_table(dict.fromkeys(["a b.mp4", "a_b.mp4", "c.mp4"], 9.0), splits, 4.0)
    with pytest.raises(UserError, match="less than a clip"):
        clip_table({**SECONDS, "a.mp4": 3.0}, SPLITS, 4.0)


times = st.floats(-50, 3000, allow_nan=False)


@given(times, st.floats(0.3, 5), st.floats(0, 5))
def test_the_first_volume_is_the_first_at_or_after_the_moment(seconds, tr, start):
    k = first_volume(seconds, tr, start)
    assert start + k * tr >= seconds - clips.TICK - 1e-9
    assert start + (k - 1) * tr < seconds - clips.TICK + 1e-9


@given(st.integers(0, 900), st.sampled_from([0.49, 1.49, 1.75, 2.0, 0.8]), st.floats(0, 5))
def test_a_volume_s_own_moment_is_that_volume_s(k, tr, start):
    # whatever floats make of start + k tr
    assert first_volume(start + k * tr, tr, start) == k


@given(st.floats(0.3, 30), st.floats(0.3, 5))
def test_a_window_is_within_half_a_volume_of_its_seconds(window, tr):
    volumes = clips.window_volumes(window, tr)
    assert volumes >= 1
    assert abs(volumes * tr - window) <= tr / 2 + 1e-9 or volumes == 1


def test_windows_start_at_the_lag_and_stay_in_the_run():
    one = run([(8.0, 40.0, "a.mp4")], volumes=27)
    made = cut_windows([one], table(), ClipSettings(lag=4, window=8))
    # the first clip: 8 + 0 + 4 = 12 s -> volume 6; the run ends before the last clip's window
    assert made.windows.dtype == np.float16
    assert made.windows.shape == (9, 4, 3)
    np.testing.assert_array_equal(made.windows[0, :, 0], [6, 7, 8, 9])
    np.testing.assert_array_equal(made.windows[8, :, 0], [22, 23, 24, 25])
    assert made.left_out == {"off the run": 1}
    assert list(made.trials.columns) == list(clips.TRIAL_COLUMNS)
    assert list(made.trials["trial"]) == list(range(9))


@pytest.mark.parametrize("onset", [-2.0, 0.0, 7.3])
@pytest.mark.parametrize(("tr", "start"), [(1.49, 0.7), (2.0, 0.0), (1.75, 0.875)])
def test_an_impulse_at_a_known_film_time_is_in_the_right_clip_s_window(onset, tr, start):
    lag, film_time = 4.0, 17.0  # within a_0016.0
    volumes = 60
    bold = np.zeros((volumes, 2), np.float32)
    acquired = start + tr * np.arange(volumes)
    bold[np.argmin(np.abs(acquired - (onset + film_time + lag)))] = 1
    one = run([(onset, 40.0, "a.mp4")], tr=tr, start=start, bold=bold)
    made = cut_windows([one], table(), ClipSettings(lag=lag, window=4.0))
    hit = made.trials["clip_id"][made.windows.any(axis=(1, 2))]
    assert "a_0016.0" in set(hit)
    assert len(hit) <= 2  # windows of neighbours may share a volume, as 4 s are no whole volumes
    # with no lag the same volume belongs to the clip 4 s later
    now = cut_windows([one], table(), ClipSettings(lag=lag, window=4.0), lag=0.0)
    assert "a_0020.0" in set(now.trials["clip_id"][now.windows.any(axis=(1, 2))])


def test_negative_lag_reads_before_the_clip():
    one = run([(8.0, 40.0, "a.mp4")])
    made = cut_windows([one], table(), SETTINGS, lag=-10.0)
    assert made.left_out == {"off the run": 1}
    first = made.trials.index[made.trials["clip_id"] == "a_0004.0"][0]
    np.testing.assert_array_equal(made.windows[first, :, 0], [1, 2, 3, 4])


def test_one_row_a_clip_and_one_row_a_run_give_the_same_windows():
    whole = cut_windows([run([(6.0, 12.0, "sub dir/c.mp4")])], table(), SETTINGS)
    split = Splits(train=["1.mp4"], validation=["2.mp4"], test=["3.mp4"])
    short, _ = clip_table({"1.mp4": 4.0, "2.mp4": 4.0, "3.mp4": 4.0}, split, 4.0)
    rows = [(6.0, 4.0, "1.mp4"), (10.0, 4.0, "2.mp4"), (14.0, 4.0, "3.mp4")]
    apart = cut_windows([run(rows)], short.assign(split="test"), SETTINGS)
    np.testing.assert_array_equal(whole.windows, apart.windows)


def test_an_event_shorter_than_its_film_covers_its_beginning():
    made = cut_windows([run([(0.0, 9.0, "a.mp4")])], table(), SETTINGS)
    assert list(made.trials["clip_id"]) == ["a_0000.0", "a_0004.0"]
    assert made.left_out == {"not shown": 8}
    unknown = cut_windows([run([(0.0, None, "a.mp4")])], table(), SETTINGS)
    assert len(unknown.trials) == 10


def test_stimuli_outside_the_clip_table_give_no_trial():
    made = cut_windows([run([(0.0, 12.0, "other.mp4"), (20.0, 40.0, "a.mp4")])], table(), SETTINGS)
    assert set(made.trials["stim_file"]) == {"a.mp4"}
    assert made.left_out == {"stimulus not in the clip table": 1}
    with pytest.raises(UserError, match="none of its clips has a window"):
        cut_windows([run([(0.0, 12.0, "other.mp4")])], table(), SETTINGS)


@pytest.mark.parametrize(
    "name", [" a.mp4", "a.mp4 ", "./a.mp4", "stimuli/a.mp4", "stimuli\\a.mp4", "A.MP4"]
)
def test_a_name_that_can_mean_one_film_is_taken_for_it_and_said(name):
    plan = clips.plan_windows([run([(0.0, 40.0, name)])], table(), SETTINGS)
    assert set(plan.trials["stim_file"]) == {"a.mp4"}
    assert list(plan.said()) == [
        f"events: {name!r} is taken for a.mp4",
        f"warning: events: names taken for films of splits: {name}",
    ]


def test_a_name_that_can_mean_two_films_is_taken_for_neither():
    assert clips.films_meant(["A.mp4", "a.mp4"], ["a.mp4", "a.MP4"]) == {
        "A.mp4": "A.mp4",
        "a.mp4": "a.mp4",
    }
    assert clips.films_meant(["dir\\c.mp4"], ["dir/c.mp4"]) == {"dir\\c.mp4": "dir/c.mp4"}


def test_showings_that_are_left_out_are_told_by_name():
    rows = [(0.0, 9.0, "a.mp4"), (20.0, 12.0, "other.mp4"), (40.0, 12.0, "other.mp4")]
    said = list(clips.plan_windows([run(rows)], table(), SETTINGS).said())
    assert said == [
        "8 showings left out: not shown",
        "  a.mp4: 8",
        "2 showings left out: stimulus not in the clip table",
        "  other.mp4: 2",
        "warning: showings of clips left out: 8 not shown (a.mp4); "
        "2 stimulus not in the clip table (other.mp4)",
    ]


def test_repeats_are_counted_by_showing():
    runs = [
        run([(0.0, 40.0, "a.mp4"), (60.0, 40.0, "a.mp4")], volumes=60, label="01"),
        run([(0.0, 40.0, "a.mp4")], label="02"),
    ]
    made = cut_windows(runs, table(), SETTINGS)
    seen = made.trials.groupby("clip_id")["repeat"].apply(list)
    assert seen["a_0000.0"] == [1, 2, 3]
    # dropped at a run's edge, a later showing keeps its number
    assert made.trials.query("clip_id == 'a_0000.0' and run == '02'")["repeat"].item() == 3


def test_validity_is_the_share_of_valid_volumes():
    one = run([(0.0, 40.0, "a.mp4")])
    one.valid[2:4] = False
    made = cut_windows([one], table(), ClipSettings(lag=4, window=8))
    assert made.trials["valid"][0] == 0.5  # volumes 2-5
    assert made.trials["valid"][1] == 1.0


def test_rolling_turns_bold_within_its_run_by_at_least_the_seconds():
    one = run([(0.0, 40.0, "a.mp4")], tr=1.49)
    turned = one.rolled(20.0)
    assert turned.bold[14, 0] == 0  # 14 x 1.49 = 20.9 s
    np.testing.assert_array_equal(np.sort(turned.bold[:, 0]), one.bold[:, 0])
    settings = SETTINGS
    plain = cut_windows([one], table(), settings)
    rolled = cut_windows([one], table(), settings, roll=20.0)
    pd.testing.assert_frame_equal(plain.trials, rolled.trials)
    np.testing.assert_array_equal(rolled.windows[8, 0, 0], plain.windows[8, 0, 0] - 14)
    assert one.rolled(-20.0).bold[0, 0] == 14


def test_a_run_too_short_to_be_turned_is_refused():
    with pytest.raises(UserError, match="cannot be turned by 20 s"):
        run([(0.0, 40.0, "a.mp4")], volumes=19).rolled(20.0)


def test_no_window_of_train_holds_a_volume_that_test_reads():
    # Films follow each other in one run: the windows of a's last clips reach into those of c.
    both = [(0.0, 40.0, "a.mp4"), (40.0, 12.0, "sub dir/c.mp4")]
    made = cut_windows([run(both)], table(), SETTINGS)
    read = {
        split: {
            v for row in made.windows[(made.trials["split"] == split).to_numpy()] for v in row[:, 0]
        }
        for split in ("train", "test")
    }
    assert not read["train"] & read["test"]
    assert made.trials["split"].tolist().count("test") == 3
    assert made.left_out == {"shared with another split": 1}


@pytest.mark.bad_input("derivatives", "runs of several TRs")
def test_runs_of_different_tr():
    runs = [
        run([(0.0, 40.0, "a.mp4")], tr=tr, label=f"0{k}") for k, tr in enumerate((2, 1, 2, 2, 2))
    ]
    told = r"differ in TR, .*: 1 s in 1 \(01\), 2 s in 4 \(00, 02, 03, \.\.\.\)"
    with pytest.raises(UserError, match=told):
        cut_windows(runs, table(), SETTINGS)


def test_average_of_repeats_leaves_invalid_trials_out():
    first, second, third = (run([(0.0, 12.0, "sub dir/c.mp4")], label=k) for k in "123")
    second.bold[:] += 2
    third.bold[:] += 100
    third.valid[:] = False
    third.valid[7:10] = True  # enough of the third clip's window alone
    made = cut_windows([first, second, third], table(), ClipSettings(lag=4, window=8))
    mean, rows = average_repeats(made.windows, made.trials)
    assert list(rows["clip_id"]) == ["sub_dir_c_0000.0", "sub_dir_c_0004.0", "sub_dir_c_0008.0"]
    assert list(rows["trials"]) == [2, 2, 3]
    np.testing.assert_allclose(mean[0, :, 0], np.arange(2, 6) + 1)
    np.testing.assert_allclose(mean[2, :, 0], np.arange(6, 10) + 34)
    nothing, none = average_repeats(made.windows, made.trials.assign(valid=0.0))
    assert nothing.shape == (0, 4, 3)
    assert len(none) == 0
