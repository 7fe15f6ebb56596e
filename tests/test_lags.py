"""The sweep finds the lag that was planted, and chance far from it."""

import numpy as np
import pandas as pd
import pytest

from llm4brain.clips import Run
from llm4brain.errors import UserError
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.lags import COLUMNS, LAGS, draw_lags, lag_sweep
from llm4brain.evaluate.retrieval import centred
from llm4brain.sections import ClipSettings

TR, LEAD, CLIPS, PLANTED = 2.0, 24.0, 40, 8.0
SETTINGS = ClipSettings(lag=6.0, window=4.0)


@pytest.fixture(scope="module")
def shown():
    """A film of 40 clips; each clip's tokens stand in the BOLD 8 s after it began, for 4 s."""
    rng = np.random.default_rng(0)
    onsets = 4.0 * np.arange(CLIPS)
    clips = pd.DataFrame({
        "clip_id": [f"film_{t:06.1f}" for t in onsets], "stim_file": "film.mp4", "onset": onsets,
        "duration": 4.0, "split": "test",
    })  # fmt: skip
    tokens = rng.normal(size=(CLIPS, 30)).astype(np.float32)
    volumes = int((2 * LEAD + 4 * CLIPS) / TR)
    bold = rng.normal(scale=0.3, size=(volumes, 30)).astype(np.float32)
    for i, onset in enumerate(onsets):
        first = int((LEAD + onset + PLANTED) / TR)
        bold[first : first + 2] += tokens[i]
    events = [{"onset": LEAD, "duration": 4.0 * CLIPS, "stim_file": "film.mp4"}]
    runs = [Run("01", bold, np.ones(volumes, bool), TR, 0.0, events)]
    return runs, clips, dict(zip(clips["clip_id"], tokens, strict=True))


def sweep(shown, **more):
    runs, clips, truth = shown

    def read(windows):
        return centred(windows.mean(axis=1))

    truth = {name: centred(row[None])[0] for name, row in truth.items()}
    norms = {name: np.linalg.norm(row) for name, row in truth.items()}
    given = {"repeats": "average", "seconds": 20, "samples": 200, "seed": 0} | more
    return lag_sweep(runs, clips, SETTINGS, read, truth, norms, **given)


def test_the_score_peaks_where_it_was_planted(shown, tmp_path):
    table = sweep(shown).set_index("lag")
    assert tuple(table.reset_index()) == COLUMNS
    assert list(table.index) == list(LAGS)
    assert table["top1"].idxmax() == table["match"].idxmax() == PLANTED
    assert table.loc[PLANTED, "top1_low"] > 90
    far = table[np.abs(table.index - PLANTED) >= 6]
    assert (far["top1_low"] <= far["chance"]).all()
    assert (far["match"].abs() < 0.2).all()
    assert table["n_clips"].nunique() == 1  # the same clips at every lag
    save(draw_lags(table.reset_index(), 6.0, "simulated"), tmp_path / "lag.png", dpi=130)
    assert (tmp_path / "lag.png").stat().st_size > 5000


def test_lags_that_leave_no_clips_have_no_row(shown):
    """A film of six clips whose middle is spoilt by motion: at -20 and 20 s no two clips share."""
    (run,), clips, truth = shown
    clips = clips.iloc[:6]
    valid = run.valid.copy()
    middle = int((LEAD + 12.0) / TR)
    valid[middle : middle + 2] = False
    run = Run("01", run.bold, valid, TR, 0.0, [run.events[0] | {"duration": 24.0}])
    table = sweep(([run], clips, truth))
    assert SETTINGS.lag in set(table["lag"])
    assert 1 < len(table) < len(LAGS)
    assert table["n_clips"].unique().tolist() == [table["n_clips"].iloc[0]]
    assert table["n_clips"].iloc[0] >= 2
    near = np.abs(table["lag"] - SETTINGS.lag)
    assert near.max() <= min(abs(lag - SETTINGS.lag) for lag in set(LAGS) - set(table["lag"]))
    run = Run("01", run.bold, np.zeros_like(valid), TR, 0.0, run.events)
    with pytest.raises(UserError, match="has no two test clips with a valid window"):
        sweep(([run], clips, truth))


def test_wrong_runs_are_told(shown):
    runs, clips, truth = shown
    other = Run("02", runs[0].bold, runs[0].valid, 0.5, 0.0, runs[0].events)
    with pytest.raises(UserError, match="differ in TR"):
        sweep(([*runs, other], clips, truth))
    with pytest.raises(UserError, match="none of its clips"):
        sweep((runs, clips.assign(stim_file="other.mp4"), truth))
