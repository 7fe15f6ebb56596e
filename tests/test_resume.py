"""A stage that is killed loses one epoch or one batch at most, and ends in the same bytes.

Each stage runs in a process of its own, which kills itself: right before it renames its last
output, or at the start of a piece of work (an epoch, a batch, a candidate of a search).
"""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from leak_data import LOADED, SETTINGS, run, step, write_models, write_study
from test_captions_video import TINY
from tiny_films import grey_films, some_clips
from tiny_models import llm

from llm4brain.video import captions
from llm4brain.video.videollm import VideoLLM

EPOCHS = "llm4brain.checkpoint:Checkpoint.save"  # called once at the end of each epoch
TEXTS = "llm4brain.video.videollm:VideoLLM._say"
VIT = "llm4brain.video.videollm:VideoLLM.vit_tokens"
JOINT = "llm4brain.align.readout:agreement"
ALONE = "llm4brain.align.aligner:Aligner._alone"
LEFT_OUT = "llm4brain.align.stranger:agreement"
FRAMES = '{"frames": 2}'
PENALTIES = 5  # candidates per left-out person, which are one piece of work

# stage -> the output that it renames last; what counts as work; the most that a kill may lose of it
STAGES: dict[str, tuple[str, list[str], int]] = {
    "pretraining": ("pretraining.png", [EPOCHS, "llm4brain.brain.pretrain:linear_path"], 0),
    "pretrain": ("pretrain.png", [EPOCHS, "llm4brain.brain.pretrain:linear_path"], 0),
    "align": ("align.png", [EPOCHS, ALONE, JOINT], 0),
    "adapt": ("adapt.png", [EPOCHS, ALONE, JOINT, LEFT_OUT], PENALTIES),
    "calibrate": ("adapt.safetensors", [LEFT_OUT], PENALTIES),
    "tune": ("tune.png", [EPOCHS, "llm4brain.video.videollm:VideoLLM.answer_states"], 0),
    "video_llm": ("video_llm.png", [EPOCHS], 0),
    "decode": ("readings.safetensors", [TEXTS, "llm4brain.align.reader:BrainReader.components"], 0),
    "reference": ("readings.safetensors", [TEXTS], 0),
    "captions_generated": ("generated.tsv", [TEXTS, VIT], 1),
    "video_features": ("video.safetensors", [VIT], 0),
    "bold_features": ("sub-01.safetensors", ["llm4brain.clips:run_windows"], 0),
}
# stages whose identity holds more than hashes of whole files
BY_STAMP = ["pretraining", "decode", "reference", "captions_generated", "video_features"]
BY_STAMP += ["bold_features"]


@dataclass(frozen=True)
class Given:
    """Inputs of all stages."""

    study: Path
    models: Path
    films: Path
    llm: Path


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    study = write_study(folder / "study", poisoned=False)
    (folder / "films").mkdir()
    clips = some_clips().assign(split="train")
    clips.to_csv(folder / "films/clips.tsv", sep="\t", index=False)
    films, models = grey_films(folder / "films"), write_models(study, folder / "models")
    return Given(study, models, films, llm(folder / "llm"))


def perform(stage: str, given: Given, out: Path) -> None:
    """Run a stage of the workflow."""
    data = given.study / "data"
    same = {"seed": 0, "code": "", "threads": 1, "precision": "fp32"}
    log = {"log": out / f"{stage}.csv", "plot": out / f"{stage}.png"}
    film = {"clips": given.films / "clips.tsv", "stimuli": given.films}
    film |= {"model": given.models / "video_llm", "clip_settings": FRAMES}
    read = {"settings": json.dumps(LOADED | {"max_new_tokens": 6})}
    if stage == "pretraining":
        settings = json.dumps(SETTINGS["pretrain"] | {"pretraining": True})
        example, file = data / "features/sub-01.safetensors", out / "pretraining.safetensors"
        more = {"bold": data / "bold", "subject": ["01", "02"], "example": example, "out": file}
        step(stage)(**more, **log, **same, settings=settings)
    elif stage == "video_llm":
        more = {"llm": given.llm, "films": given.films, "out": out / "video_llm"}
        step(stage)(**more, **log, **same, settings=TINY.model_dump_json(), clip_settings=FRAMES)
    elif stage == "captions_generated":
        how = json.dumps({"samples": 2, "temperature": 1.0, "top_p": 1.0})
        step(stage)(**film, **read, **same, out=out / "generated.tsv", caption_settings=how)
    elif stage == "video_features":
        step(stage)(**film, **read, **same, out=out / "video.safetensors")
    elif stage == "bold_features":
        files = {"bold": data / "bold/sub-01.safetensors", "clips": data / "clips.tsv"}
        files |= {"out": out / "sub-01.safetensors", "trials": out / "sub-01_trials.tsv"}
        step(stage)(**files, **same, settings='{"lag": 6.0, "window": 4.0}')
    else:
        run(stage, given.study, given.models, out)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def observed(work: list[str], calls: Path, dies_at: int) -> None:
    """Write a line to `calls` when a piece of work is done; die at the start of one of them."""
    seen = [0]
    for name in work:
        module, _, path = name.partition(":")
        *owners, last = path.split(".")
        place = import_module(module)
        for owner in owners:
            place = getattr(place, owner)
        inner = getattr(place, last)

        def counting(*args, inner=inner, name=name, **more):
            seen[0] += 1
            if seen[0] == dies_at:
                killed()
            made = inner(*args, **more)
            with calls.open("a") as file:
                file.write(f"{name}\n")
            return made

        setattr(place, last, counting)


def in_a_process(stage: str, given: Given, out: Path, calls: Path, dies_at: int | str) -> None:
    """A stage with its work counted, in small batches; `dies_at`: a piece of work or an output."""
    signal.alarm(600)  # s
    torch.set_num_threads(1)
    captions.AT_ONCE = 2
    VideoLLM._at_once = lambda *_: 3  # rows
    observed(STAGES[stage][1], calls, dies_at if isinstance(dies_at, int) else 0)
    rename = os.replace

    def renamed(source, target):
        if Path(target).name == dies_at:
            killed()
        rename(source, target)

    os.replace = renamed
    perform(stage, given, out)


def attempt(stage: str, given: Given, out: Path, dies_at: int | str = 0) -> int:
    """Number of pieces of work that one attempt at a stage finished."""
    calls = out.with_name("calls")
    calls.write_text("")
    target = partial(in_a_process, stage, given, out, calls, dies_at)
    child = multiprocessing.get_context("fork").Process(target=target)
    child.start()
    child.join()
    assert child.exitcode == (-signal.SIGKILL if dies_at else 0)
    return len(calls.read_text().splitlines())


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def without_outputs(folder: Path) -> None:
    """Remove what Snakemake removes of a job that was killed: its outputs."""
    for path in folder.iterdir():
        if path.is_dir() and path.suffix != ".checkpoint" and not path.name.startswith("."):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


@pytest.fixture(scope="module")
def changed(given, tmp_path_factory) -> Given:
    """The same files with other test data, and with two films swapped."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(given.films, folder / "films")
    for a, b in ((0, 2), (2, 0)):
        shutil.copy(given.films / f"film-{a}.mp4", folder / f"films/film-{b}.mp4")
    study = write_study(folder / "study", poisoned=True)
    return replace(given, study=study, films=folder / "films")


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory) -> Callable[[str], tuple[dict[str, bytes], int]]:
    made: dict[str, tuple[dict[str, bytes], int]] = {}

    def whole(stage: str) -> tuple[dict[str, bytes], int]:
        if stage not in made:
            out = tmp_path_factory.mktemp(stage) / "out"
            work = attempt(stage, given, out)
            made[stage] = files(out), work
        return made[stage]

    return whole


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_in_the_last_second_repeats_no_work(given, undisturbed, tmp_path, stage):
    expected, work = undisturbed(stage)
    assert work > 1
    assert attempt(stage, given, tmp_path / "out", STAGES[stage][0]) == work
    without_outputs(tmp_path / "out")
    assert attempt(stage, given, tmp_path / "out") == 0
    assert files(tmp_path / "out") == expected


@pytest.mark.parametrize("stage", STAGES)
def test_kills_on_the_way_repeat_one_piece_of_work_at_most(given, undisturbed, tmp_path, stage):
    expected, work = undisturbed(stage)
    done = attempt(stage, given, tmp_path / "out", work // 2 + 1)
    assert done == work // 2
    without_outputs(tmp_path / "out")
    done += attempt(stage, given, tmp_path / "out", 2)
    done += attempt(stage, given, tmp_path / "out")
    assert work <= done <= work + 2 * STAGES[stage][2]
    assert files(tmp_path / "out") == expected


@pytest.mark.parametrize("stage", BY_STAMP)
def test_a_stage_whose_inputs_changed_starts_anew(given, changed, tmp_path, stage):
    attempt(stage, given, tmp_path / "out", STAGES[stage][0])
    without_outputs(tmp_path / "out")
    again = attempt(stage, changed, tmp_path / "out")
    assert again == attempt(stage, changed, tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
