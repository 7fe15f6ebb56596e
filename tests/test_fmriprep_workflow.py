"""Raw BIDS to windows of clips by real Snakemake; a stand-in writes what fMRIPrep would."""

import container_stand_in
import numpy as np
import pandas as pd
import pytest
import tiny_models
import yaml
from conftest import TINY, jobs, snakemake
from painted import even, film
from preprocess_data import write_run

from llm4brain.io import Arrays

FEATURES = [f"data/features/sub-{s}.safetensors" for s in ("01", "02")]
# Two films a run, so that two sessions show all four.
EVENTS = "onset\tduration\tstim_file\n2\t16\tfilm-{}.mp4\n24\t16\tfilm-{}.mp4\n"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A BIDS data set of two subjects with two sessions each, its settings, container engines."""
    raw, bin = tmp_path / "raw", tmp_path / "bin"
    for subject in ("01", "02"):
        for session in (1, 2):
            write_run(
                raw,
                f"sub-{subject}_ses-{session}_task-film_run-01",
                volumes=24,
                events=EVENTS.format(2 * session - 1, 2 * session),
                seed=10 * int(subject) + session,
            )
    (raw / "stimuli").mkdir()
    for k in (1, 2, 3, 4):
        film(raw / "stimuli" / f"film-{k}.mp4", even(80 + k, 5))
    (tmp_path / "license.txt").write_text("licence")
    splits = {"train": ["film-1.mp4", "film-2.mp4"], "validation": ["film-3.mp4"]}
    settings = {
        "dataset": "bids",
        "bids_dir": str(raw),
        "subjects": ["01", "02"],
        "splits": splits | {"test": ["film-4.mp4"]},
        "preprocess": {"backend": "fmriprep", "fs_license": str(tmp_path / "license.txt")},
        "bold": {"voxel_mm": 12, "confounds": "none"},  # 24 volumes leave nothing of `simple`
        "clips": {"duration": 4.0, "lag": 4.0, "window": 4.0},
        "video_llm": {"source": "hub:some/model@main"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    container_stand_in.install(bin, "docker", "apptainer")
    monkeypatch.setenv("PATH", str(bin), prepend=":")
    for name in ("FS_LICENSE", "TEMPLATEFLOW_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def go(study, mode, *arguments):
    """A run of the workflow, with as many calls of the stand-in as it made."""
    (study / "bin" / "mode").write_text(mode)
    before = len(container_stand_in.calls(study / "bin"))
    done = snakemake(
        study / "run", "--keep-going", *FEATURES, "--configfile", study / "study.yaml", *arguments
    )
    made = container_stand_in.calls(study / "bin")[before:]
    real = [c for c in made if c["args"][0] == "run" and "--entrypoint=free" not in c["args"]]
    return done, [(c["engine"], c["args"]) for c in real]


def test_one_subject_that_fails_takes_nothing_from_the_others(study):
    run, derived = study / "run", study / "run/data/derivatives/fmriprep"
    done, calls = go(study, "breaks 02")
    assert done.returncode == 1
    assert [engine for engine, _ in calls] == ["docker"] * 2
    assert "error: sub-02: fMRIPrep ended with status 1" in done.stdout + done.stderr
    # the other subject went all the way; of the one that broke off no file looks like a whole one
    assert (run / FEATURES[0]).is_file()
    assert len(list(derived.glob("sub-01/ses-*/func/*_bold.nii.gz"))) == 2
    assert not list(derived.glob("sub-02/ses-*/func/*_bold.nii.gz"))
    # what fMRIPrep takes up again stands
    assert (run / "data/fmriprep_work/sub-02/half").is_file()

    found = jobs(run, *FEATURES, "--configfile", study / "study.yaml")
    assert found == {"preprocess_fmriprep": 1, "bold": 1, "bold_features": 1}
    made = (derived / "sub-01/ses-1/func").stat().st_mtime_ns
    # on another machine, which has Apptainer: that alone is no reason to make anything again
    done, calls = go(study, "real", "--config", "preprocess={engine: apptainer}")
    assert done.returncode == 0, done.stdout + done.stderr
    ((engine, args),) = calls
    assert engine == "apptainer"
    assert args[args.index("--participant-label") + 1] == "02"
    log = (run / "logs/preprocess_fmriprep/sub-02.log").read_text()
    assert "sub-02: resumed" in log
    assert (derived / "sub-01/ses-1/func").stat().st_mtime_ns == made

    for subject, path in zip(("01", "02"), FEATURES, strict=True):
        trials = pd.read_csv(run / f"data/features/sub-{subject}_trials.tsv", sep="\t")
        windows = Arrays(run / path)["windows"]
        assert len(windows) == len(trials) == 16
        assert set(trials["stim_file"]) == {f"film-{k}.mp4" for k in (1, 2, 3, 4)}
        assert np.isfinite(windows).all()
        assert windows.std() > 0
    assert jobs(run, *FEATURES, "--configfile", study / "study.yaml") == {}


@pytest.mark.long
def test_what_fmriprep_wrote_goes_on_to_table_1(study):
    settings = yaml.safe_load((study / "study.yaml").read_text())
    tiny = yaml.safe_load(TINY.read_text())
    settings |= {name: tiny[name] for name in ("encoder", "align", "adapt", "tune")}
    settings["video_llm"] = {"max_new_tokens": 6}
    settings["video_llm"]["source"] = f"path:{tiny_models.blip2(study / 'video_llm', 'llama')}"
    sentence = tiny_models.sentence(study / "sentence")
    settings["evaluate"] = {"n_bootstrap": 20, "n_permutations": 19, "meteor": False}
    settings["evaluate"]["sentence_model"] = f"path:{sentence}"
    (study / "study.yaml").write_text(yaml.safe_dump(settings))
    for k in (1, 2, 3, 4):
        rows = [f"{4 * i}\t4\t{' '.join(tiny_models.WORDS[k + i : k + i + 4])}" for i in range(4)]
        text = "\n".join(["onset\tduration\tcaption", *rows])
        (study / "raw" / "stimuli" / f"film-{k}_captions.tsv").write_text(f"{text}\n")
    (study / "bin" / "mode").write_text("real")
    target = ("results/table1.csv", "--configfile", study / "study.yaml")
    done = snakemake(study / "run", *target)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(study / "run" / "results" / "table1.csv", dtype={"subject": str})
    assert {"model", "ridge", "constant", "video"} <= set(table["system"])
    assert set(table["subject"]) == {"01", "02", "mean"}
    # fMRIPrep's own work is not done again for what came after it
    assert "preprocess_fmriprep" not in jobs(study / "run", *target)
