"""A small study in files, its poisoned copy, and helpers that run the workflow's scripts on both.

In the copy, all test data are garbage: BOLD, video tokens and captions. Only the BOLD of one test
clip, `SPARED`, is unchanged, so that its predictions can be compared.
"""

import importlib.util
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from conftest import ROOT
from tiny_models import blip2
from transformers import Blip2ForConditionalGeneration

from llm4brain.evaluate.decoded import read_readings
from llm4brain.io import Arrays, read_table, write_arrays, write_table
from llm4brain.video.videollm import VideoLLM

SUBJECTS = ("01", "02")
NEW, KNOWN = "03", 8  # a new person, and the number of its trials that may be used
SPLITS = dict(zip("12345", ["train"] * 3 + ["validation", "test"], strict=True))
CLIPS, LEAD, TAIL, TR = 8, 4, 8, 2.0  # clips per film; volumes before and after a film; s
K, D = 4, 32  # size of the tiny video-LLM's tokens for two frames
SPARED = "film-5_0000.0"
LAG, WINDOW = 6.0, 4.0
FIT = {"epochs": 2, "batch_size": 16, "lr": 1e-2}
SETTINGS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "tokenizer": "auto", "patch_values": 8, "temporal": False, "weights": None,
        "patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 1,
        "decoder_embed_dim": 16, "decoder_depth": 1, "n_components": 8, "noise": 1.0,
        "mask_ratio": 0.5, "gradient_checkpointing": False, "fit": FIT,
    },
    "align": {
        "n_components": 6, "folds": 3, "adaptor_width": 4, "alpha": None, "weigh_components": True,
        "fit": FIT,
    },
    "adapt": {
        "methods": ["gate", "selfsupervised"], "power": None, "smooth_mm": 8.0, "n_components": 4,
        "weight": 0.1, "fit": FIT,
    },
    "calibrate": {"n_components": 10},
    "tune": {
        "lora_rank": 2, "lora_alpha": 4, "gradient_checkpointing": False, "gap_weight": 0.5,
        "fit": FIT,
    },
    "decode": {"repeats": "average", "shift_seconds": 20.0},
    "reference": {"repeats": "average"},
}  # fmt: skip
LOADED = {"quantize": None, "device_map": None}
FITTED = ("pretrain", "align", "adapt", "tune")
WHO, DOES, IN = ("dog", "cat", "girl"), ("running", "jumping"), ("red", "blue")


def step(script: str) -> Callable[..., None]:
    """`main` of a workflow script, imported into this process, so that a test can plant a leak."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "scripts" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def write_study(folder: Path, poisoned: bool) -> Path:
    """Write clips, BOLD, features, video features and captions in the workflow's layout."""
    data, rng = folder / "data", np.random.default_rng(0)
    garbage = np.random.default_rng(1)
    clips = pd.DataFrame(
        [
            (f"film-{f}_{4 * i:06.1f}", f"film-{f}.mp4", 4.0 * i, 4.0, split)
            for f, split in SPLITS.items()
            for i in range(CLIPS)
        ],
        columns=["clip_id", "stim_file", "onset", "duration", "split"],
    )
    write_table(data / "clips.tsv", clips)
    test = (clips["split"] == "test").to_numpy()
    scenes = np.stack([rng.integers(size, size=len(clips)) for size in (3, 2, 2)], axis=1)
    code = np.hstack([np.eye(3)[scenes[:, 0]], np.eye(2)[scenes[:, 1]], np.eye(2)[scenes[:, 2]]])
    tokens = (code @ rng.normal(size=(7, K * D)) + 1).astype(np.float32)
    vit = (code @ rng.normal(size=(7, 2 * 5 * 16))).astype(np.float16).reshape(-1, 2, 5, 16)
    for subject in (*SUBJECTS, NEW):
        _write_bold(data, subject, clips, tokens, rng, garbage if poisoned else None)
    said = [f"a {WHO[a]} is {DOES[b]} in {IN[c]} ." for a, b, c in scenes]
    if poisoned:
        tokens[test] = garbage.normal(scale=9, size=tokens[test].shape)
        vit[test] = garbage.normal(scale=9, size=vit[test].shape)
        said = ["moon beach video" if t else text for t, text in zip(test, said, strict=True)]
    arrays = {"video_tokens": tokens.reshape(-1, K, D), "vit_tokens": vit}
    write_arrays(data / "features/video.safetensors", arrays, {"clip_id": list(clips["clip_id"])})
    for name in ("human", "generated"):
        table = pd.DataFrame({"clip_id": clips["clip_id"], "caption": said, "source": name})
        write_table(data / f"captions/{name}.tsv", table)
    return folder


def _write_bold(data, subject, clips, tokens, rng, garbage) -> None:
    """Two runs per film; each clip's tokens are added to the BOLD `LAG` s after its onset."""
    forward = rng.normal(size=(tokens.shape[1], 64)) / 8
    arrays, about = {}, {}
    volumes = LEAD + 2 * CLIPS + TAIL
    for number, film in enumerate([*SPLITS, *SPLITS], start=1):
        bold = rng.normal(size=(volumes, 64)).astype(np.float32)
        own = np.flatnonzero(clips["stim_file"] == f"film-{film}.mp4")
        first = LEAD + int(LAG / TR)
        for i, row in enumerate(own):
            bold[first + 2 * i : first + 2 * i + 2] += tokens[row] @ forward
        if garbage is not None and SPLITS[film] == "test":
            spared = bold[first : first + 2].copy()
            bold = garbage.normal(3, 9, size=bold.shape).astype(np.float32)
            bold[first : first + 2] = spared
        name = f"{number:02d}"
        arrays |= {f"run-{name}": bold, f"valid-{name}": np.ones(volumes, bool)}
        event = {"onset": LEAD * TR, "duration": 4.0 * CLIPS, "stim_file": f"film-{film}.mp4"}
        about[name] = {"tr": TR, "start_time": 0.0, "events": [event]}
    voxels = np.argwhere(np.ones((4, 4, 4))).astype(np.int16)
    affine = np.diag([8.0, 8.0, 8.0, 1.0]).tolist()
    path = data / f"bold/sub-{subject}.safetensors"
    write_arrays(
        path, arrays | {"voxels": voxels}, {"runs": about, "affine": affine, "provenance": {}}
    )
    step("bold_features")(
        bold=path,
        clips=data / "clips.tsv",
        out=data / f"features/sub-{subject}.safetensors",
        trials=data / f"features/sub-{subject}_trials.tsv",
        settings=json.dumps({"lag": LAG, "window": WINDOW}),
        code="",
    )


def but_the_first_trials(study: Path, folder: Path, known: int) -> Path:
    """A copy of a study in which all data of `NEW` except its first train trials are garbage.

    The clip names of the other trials are shuffled within their split.
    """
    shutil.copytree(study, folder)
    path, table = (folder / f"data/features/sub-{NEW}{end}" for end in (".safetensors", TRIALS))
    arrays, trials = Arrays(path), read_table(table)
    train = trials[trials["split"] == "train"].sort_values(["run", "trial"])
    unknown = ~trials.index.isin(train.index[:known])
    windows, rng = np.array(arrays["windows"]), np.random.default_rng(2)
    windows[unknown] = rng.normal(3, 9, size=windows[unknown].shape)
    write_arrays(path, {"windows": windows, "voxels": arrays["voxels"]}, arrays.meta)
    for split in set(trials["split"]):
        rows = np.flatnonzero(unknown & (trials["split"] == split))
        mixed = trials.loc[rng.permutation(rows), ["clip_id", "stim_file"]]
        trials.loc[rows, ["clip_id", "stim_file"]] = mixed.to_numpy()
    write_table(table, trials)
    return folder


TRIALS = "_trials.tsv"


def with_other_trials(study: Path, folder: Path) -> Path:
    """A copy of a study in which the trials table of sub-01 names other clips of the same film."""
    shutil.copytree(study, folder)
    path = folder / f"data/features/sub-01{TRIALS}"
    trials = read_table(path)
    first = trials["stim_file"] == "film-1.mp4"
    turned = trials.loc[first].groupby("repeat")["clip_id"].transform(lambda c: np.roll(c, 1))
    trials.loc[first, "clip_id"] = turned
    write_table(path, trials)
    return folder


def run(
    stage: str,
    study: Path,
    models: Path,
    out: Path,
    how: str = "",
    precision: str = "fp32",
) -> dict[str, bytes]:
    """Run one stage and return the output that must not depend on the test films.

    Args:
        study: a folder written by `write_study`.
        models: holds `video_llm` and the output of the earlier stages.
        out: output folder.
        how: for `calibrate`: how the others' data are used for `NEW`, which has `KNOWN` trials.
        precision: of training and generation.

    Returns:
        for a stage that is fitted, every file; for a stage that decodes test clips, its texts and
        predictions for `SPARED`, and the settings that it chose.
    """
    data = study / "data"
    features = [data / f"features/sub-{s}.safetensors" for s in SUBJECTS]
    trials = [data / f"features/sub-{s}_trials.tsv" for s in SUBJECTS]
    video = data / "features/video.safetensors"
    shared = {"settings": json.dumps(SETTINGS[stage]), "seed": 0, "code": ""}
    machine = {"threads": 1, "precision": precision}
    if stage == "calibrate":
        who = (*SUBJECTS, NEW)
        step(stage)(
            subject=list(who),
            features=[data / f"features/sub-{s}.safetensors" for s in who],
            trials=[data / f"features/sub-{s}{TRIALS}" for s in who],
            video=video,
            adapted=models / "adapt.safetensors",
            target=NEW,
            known=KNOWN,
            how=how or "coupled",
            out=out / "adapt.safetensors",
            **shared,
            **machine,
        )
        return {"adapt": (out / "adapt.safetensors").read_bytes()}
    if stage in FITTED:
        file = out / (
            "tune/adapter_model.safetensors" if stage == "tune" else f"{stage}.safetensors"
        )
        made = {"out": file, "log": out / f"{stage}.csv", "plot": out / f"{stage}.png"}
        cohort = {"subject": list(SUBJECTS), "features": features, "trials": trials}
        llm = {"video_llm": models / "video_llm"}
        given = {
            "pretrain": cohort,
            "align": cohort | {"video": video, "pretrained": models / "pretrain.safetensors"},
            "adapt": cohort | {"video": video, "aligned": models / "align.safetensors"},
            "tune": llm
            | {"video": video, "adapted": models / "adapt.safetensors"}
            | {"captions": data / "captions/human.tsv", "video_settings": json.dumps(LOADED)},
        }[stage]
        step(stage)(**given, **made, **shared, **machine)
        return {
            str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()
        }
    given = {"features": features[0], "trials": trials[0], "clips": data / "clips.tsv"}
    given |= {"video": video, "out": out / "decoded.tsv", "readings": out / "readings.safetensors"}
    given |= machine | {
        "video_llm": models / "video_llm",
        "adapted": models / "adapt.safetensors",
        "video_settings": json.dumps({"max_new_tokens": 8} | LOADED),
    }
    if stage == "decode":
        given |= {
            "bold": data / "bold/sub-01.safetensors",
            "tuned": models / "tune/adapter_model.safetensors",
            "clip_settings": json.dumps({"lag": LAG, "window": WINDOW}),
        }
    else:
        captions = {n: data / f"captions/{f}.tsv" for n, f in CAPTIONS.items()}
        given |= captions
    step(stage)(subject="01", **given, **shared)
    return _of_the_spared(out)


CAPTIONS = {"captions": "human", "generated": "generated"}
# The texts of these systems do not depend on the clip, so they are compared for all test clips.
BLIND = ("constant", "random", "zeros", "train_mean", "prompt")
READ = ("model", "model_single", "ridge", "ridge_single", "ridge_plain", "ridge_gate")
READ += ("ridge_surprise", "ridge_llm")


def _of_the_spared(out: Path) -> dict[str, bytes]:
    said, (arrays, meta) = (
        read_table(out / "decoded.tsv"),
        read_readings(out / "readings.safetensors"),
    )
    row = meta["clip_id"].index(SPARED)
    words = said[said["system"].isin(BLIND) | (said["clip_id"] == SPARED)]
    words = words[words["system"].isin(BLIND + READ)]
    found = {"texts": words.to_csv().encode()}
    found |= {name: arrays[name][row].tobytes() for name in READ if name in arrays}
    return found | {"ridge": json.dumps(meta.get("ridge")).encode()}


def write_models(study: Path, folder: Path) -> Path:
    """Fit all stages on a study."""
    _sharpened(blip2(folder / "video_llm", "llama"))
    for stage in FITTED:
        run(stage, study, folder, folder)
    return folder


def _sharpened(folder: Path) -> None:
    """Scale up the weights of the untrained LLM, so that its text depends on all of its input."""
    model = Blip2ForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.language_model.parameters():
            if weight.ndim == 2:
                weight *= 20
    model.save_pretrained(folder)


def made_in(folder: Path) -> tuple[Path, Path, Path]:
    """The study, its poisoned copy, and the models fitted on the study."""
    study = write_study(folder / "clean", poisoned=False)
    twin = write_study(folder / "poisoned", poisoned=True)
    return study, twin, write_models(study, folder / "models")


# -- leaks of reference captions, which the guards of decode and reference must detect


def reference_words() -> list[str]:
    """The reference captions of the test clips, in order, from the workflow's files."""
    table = read_table("data/clips.tsv")
    said = read_table("data/captions/human.tsv").set_index("clip_id")["caption"]
    return [said[name] for name in table.loc[table["split"] == "test", "clip_id"]]


def teacher_forced(patch):
    """d: the text is the most likely next token after each token of the reference."""

    def leaky(self, prefix, max_new_tokens=32, batch=256):
        said = list(itertools.islice(itertools.cycle(reference_words()), len(prefix)))
        with torch.no_grad():
            logits, _ = self.answer(prefix, said)
        _, mask = self.answer_ids(said)
        parts = logits.argmax(-1).split(mask.sum(1).tolist())
        return self.tokenizer.batch_decode(parts, skip_special_tokens=True)

    patch.setattr(VideoLLM, "generate", leaky)


def begun_with_the_reference(patch):
    """d: generation is free-running but starts with the reference's first word."""
    honest = VideoLLM.generate

    def leaky(self, prefix, max_new_tokens=32, batch=256):
        said = itertools.islice(itertools.cycle(reference_words()), len(prefix))
        first = self.tokenizer([s.split()[0] for s in said], add_special_tokens=False)
        words = self.embeddings(torch.tensor([ids[:1] for ids in first["input_ids"]]))
        begun = torch.cat([prefix, words], dim=1)
        return honest(self, begun, max_new_tokens, batch)

    patch.setattr(VideoLLM, "generate", leaky)
