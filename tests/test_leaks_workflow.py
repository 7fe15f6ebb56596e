"""Guards of splits, windows and the workflow's inputs, each tested on a planted leak.

The guards of fitting and decoding are in test_leaks.py.
"""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, snakemake
from leak_data import FITTED, TR
from sklearn.model_selection import train_test_split

from llm4brain import clips
from llm4brain.clips import Run, clip_table, cut_windows
from llm4brain.sections import ClipSettings, Splits

STAGES = (*FITTED, "decode", "reference")
SPLITS = ("train", "validation", "test")


# -- before fitting: the split of each clip, and the volumes of its window


FILMS = Splits(train=["a.mp4", "b.mp4"], validation=["c.mp4"], test=["d.mp4"])
SECONDS = {f"{name}.mp4": 40.0 for name in "abcd"}


def films_stay_whole(make) -> None:
    """Guard: all clips of a film are in the split that names the film."""
    table, _ = make(SECONDS, FILMS, 4.0)
    for split in SPLITS:
        assert set(table.loc[table["split"] == split, "stim_file"]) == set(getattr(FILMS, split))
    assert not table["clip_id"].duplicated().any()


def clips_dealt_out(seconds, splits, duration):
    """a: a random split of the table's rows, which separates neighbouring clips."""
    table, rest = clip_table(seconds, splits, duration)
    train, test = train_test_split(table.index, test_size=0.2, random_state=0)
    table.loc[train, "split"], table.loc[test, "split"] = "train", "test"
    return table, rest


def test_films_stay_whole_in_their_split():
    films_stay_whole(clip_table)
    with pytest.raises(AssertionError):
        films_stay_whole(clips_dealt_out)


def test_a_film_named_in_two_splits_is_refused():
    with pytest.raises(ValueError, match=r"in more than one place: a\.mp4"):
        Splits(train=["a.mp4"], validation=["b.mp4"], test=["a.mp4"])


def windows_share_no_volume() -> None:
    """Guard: if films of two splits follow each other in a run, their windows share no volume."""
    table, _ = clip_table(SECONDS, FILMS, 4.0)
    volumes = 2 * len(SECONDS) * 10 + 10
    bold = np.arange(volumes, dtype=np.float32)[:, None]
    events = [
        {"onset": 40.0 * i, "duration": 40.0, "stim_file": name} for i, name in enumerate(SECONDS)
    ]
    shown = Run("01", bold, np.ones(volumes, bool), TR, 0.0, events)
    # as long as the haemodynamic response, longer than a clip
    cut = cut_windows([shown], table, ClipSettings(lag=4.0, window=12.0))
    of = cut.trials["split"].to_numpy()
    seen = {split: set(cut.windows[of == split].ravel()) for split in SPLITS}
    assert all(seen.values())
    for one, other in itertools.combinations(SPLITS, 2):
        assert not seen[one] & seen[other]


def test_windows_of_two_splits_share_no_volume(monkeypatch):
    windows_share_no_volume()
    monkeypatch.setattr(clips, "_apart", lambda cut, _volumes: cut)  # a: windows may overlap
    with pytest.raises(AssertionError):
        windows_share_no_volume()


# -- the workflow: input files of each rule


PLANTED = {
    ("decode", "data/captions/human.tsv"),
    ("align", "data/captions/generated.tsv"),
    ("adapt", "data/truth/sub-02.safetensors"),
    ("tune", "data/captions/human.tsv"),
    ("pretrain", "data/truth/sub-01.safetensors"),
    ("reference", "results/full/all/sub-01/metrics.json"),
}


def inputs_of(folder: Path, leaks: set[tuple[str, str]]) -> dict[str, set[str]]:
    """Inputs of each rule in a copy of the workflow, with the given inputs added to its rules."""
    for name in ("rules", "scripts", "llm4brain", "envs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    missing = set(leaks)
    for path in (folder / "rules").glob("*.smk"):
        # Snakemake prints no inputs for a rule with a message
        text = re.sub(r'\n +message:\n +"[^\n]*"\n', "\n", path.read_text())
        for rule, file in leaks:
            begun = f"rule {rule}:\n    input:\n"
            if begun in text:
                text = text.replace(begun, f'{begun}        leak="{file}",\n')
                missing.discard((rule, file))
        path.write_text(text)
    assert not missing
    targets = ("results/table1.csv", "results/full/all/sub-01/lag.csv")
    done = snakemake(folder, *targets, "--dry-run", "--snakefile", folder / "Snakefile")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    said = re.findall(r"^(?:local)?rule (\w+):\n +input: (.*)$", done.stdout, re.MULTILINE)
    for rule, files in said:
        found.setdefault(rule, set()).update(files.split(", "))
    assert {*STAGES, "score", "lag_sweep"} <= set(found)
    return found


def forbidden(found: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Inputs that a rule must not have; there are none with the default settings.

    Caption files hold every split. Tuning and the reference systems take the train captions from
    them, as checked in test_leaks.py; no other rule has such a file as input.
    """
    scores = {"paraphrases", "score", "score_own", "score_reference", "table", "figure"}
    may = {
        "tune": {"data/captions/generated.tsv"},
        "reference": {"data/captions/human.tsv", "data/captions/generated.tsv"},
    }
    bad = set()
    for rule in set(found) - scores:
        for file in found[rule] - may.get(rule, set()):
            if file.startswith(("data/captions/", "data/truth/", "results/")):
                bad.add((rule, file))
    return bad


def test_no_rule_reads_test_captions_truth_or_scores(tmp_path):
    assert forbidden(inputs_of(tmp_path, set())) == set()


def test_a_rule_with_an_input_too_many_is_noticed(tmp_path):
    assert forbidden(inputs_of(tmp_path, PLANTED)) == PLANTED


@pytest.mark.parametrize(
    "how", ["", "-4min", "-4min-functional", "-4min-unlabelled", "-4min-alone"]
)
def test_what_is_trained_without_a_subject_has_no_file_of_it(tmp_path, how):
    """Except for its own readout, if minutes of it are used."""
    cohort = f"without-01{how}"
    target = f"results/full/{cohort}/sub-01/metrics.json"
    done = snakemake(tmp_path, target, "--dry-run", "--forceall", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr

    def commands(stage):
        pattern = rf"^ *(?:Shell command: )?(python \S*/{stage}\.py .*)$"
        return re.findall(pattern, done.stdout, re.MULTILINE)

    def names_it(command):
        return "sub-01.safetensors" in command or "sub-01_trials" in command

    for stage in FITTED:
        assert commands(stage), stage
        assert not any(map(names_it, commands(stage))), stage
    calibrated = commands("calibrate")
    assert len(calibrated) == bool(how)  # applied to the model without the subject
    for command in calibrated:
        assert names_it(command)
        assert "--adapted models/full/without-01/adapt.safetensors" in command
        assert f"--target 01 --known 60 --how {how[6:] or 'coupled'}" in command
