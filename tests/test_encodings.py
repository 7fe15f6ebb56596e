"""How data sets say what was shown: an impulse planted at a clip is read at that clip."""

import numpy as np
import pytest
from bold_data import Set

from llm4brain.clips import clip_table, cut_windows, read_runs
from llm4brain.io import Arrays, stream_arrays
from llm4brain.preprocess.bold import subject_bold
from llm4brain.sections import BoldSettings, ClipSettings, Splits

LAG, VOLUMES, AT = 4.0, 80, 6  # s; a run's volumes; which showing of the second run is planted
HEAD = "onset\tduration\ttrial_type\tstim_file\n"


def clip_a_row(tr, start, stems, folder, seconds, gap, oddballs=""):
    """A data set with one row a clip, each clip a stimulus of its own."""
    names = [[f"{folder}/{r} {k:02d}.mp4" for k in range(12)] for r in range(2)]
    onsets = [2 + k * (seconds + gap) for k in range(12)]
    rows = [
        [f"{o:g}\t{seconds:g}\tvideo\t{n}" for o, n in zip(onsets, own, strict=True)]
        for own in names
    ]
    events = {
        f"{stem}_events.tsv": HEAD + "\n".join(own) + "\n" + oddballs
        for stem, own in zip(stems, rows, strict=True)
    }
    durations = dict.fromkeys([*names[0], *names[1]], seconds)
    return (
        tr,
        start,
        stems,
        events,
        durations,
        seconds,
        (onsets[AT], f"{folder}_1_{AT:02d}_0000.0".replace(" ", "_").replace("/", "_")),
    )


def row_a_run():
    """A data set with one long row a run, at its root, for every subject."""
    stems = [f"sub-01_ses-00{k + 1}_task-s01e01{p}" for k, p in enumerate("ab")]
    events = {
        f"../../../task-s01e01{p}_events.tsv": f"{HEAD}-1.5\tn/a\tepisode\ts01/e01{p}.mkv\n"
        for p in "ab"
    }
    return 1.49, 0.745, stems, events, {"s01/e01a.mkv": 100.0, "s01/e01b.mkv": 100.0}, 4.0, (
        -1.5 + AT * 4.0, f"s01_e01b_{AT * 4.0:06.1f}",
    )  # fmt: skip


SETS = {
    "one row a clip, oddballs": clip_a_row(
        1.75, 0.875, [f"sub-01_ses-0{k}_task-train_run-1" for k in (2, 3)], "train", 3.0, 1.0,
        "50\t3\toddball\tn/a\n",
    ),
    "one row a clip, spaces": clip_a_row(
        2.0, 0.0, [f"sub-01_ses-action01_task-action_run-0{k}" for k in (1, 2)],
        "playing guitar/v", 2.0, 2.0,
    ),
    "one row a run, at the root": row_a_run(),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_clip_is_found_where_its_brain_answered(tmp_path, name):
    tr, start, stems, events, durations, seconds, (moment, clip_id) = SETS[name]
    data = Set(tmp_path / "data set", VOLUMES, tr, start)
    rng = np.random.default_rng(0)
    for k, stem in enumerate(stems):
        bold = 1000 + rng.standard_normal((*data.grid.shape, VOLUMES))
        if k == 1:  # the first volume that is acquired at the lag or after it
            bold[..., int(np.ceil((moment + LAG - start) / tr - 1e-6))] += 20
        data.add(stem, bold=bold, events=None)
    data.add("sub-01_ses-09_task-rest", events=None)
    for (path, text), stem in zip(events.items(), stems, strict=True):
        session = stem.split("_")[1]
        (data.raw / "sub-01" / session / "func" / path).write_text(text)

    made = subject_bold(data.raw, data.out, "01", BoldSettings(voxel_mm=12, confounds="none"))
    assert len(made.runs) == 2
    stream_arrays(tmp_path / "bold", made.shapes, made.arrays(), made.meta)
    names = list(durations)
    splits = Splits(train=names[:1], validation=names[1:-1] or ["-"], test=names[-1:])
    splits = splits if len(names) > 2 else splits.model_copy(update={"validation": []})
    table, _ = clip_table(durations, splits, seconds)
    cut = cut_windows(read_runs(Arrays(tmp_path / "bold")), table, ClipSettings(lag=LAG, window=tr))
    assert cut.windows.shape[1] == 1
    found = np.abs(cut.windows.astype(float)).mean(axis=(1, 2))
    assert cut.trials["clip_id"][found.argmax()] == clip_id
    assert found.max() > 3 * np.partition(found, -2)[-2]
    assert set(cut.trials["stim_file"]) == set(durations)
