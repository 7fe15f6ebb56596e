"""`llm4brain export`: write a trained model to a self-contained folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.align.basis import Basis
from llm4brain.arms import cohort as trained_on
from llm4brain.arms import home
from llm4brain.brain.cohort import rows_of
from llm4brain.config import Config
from llm4brain.errors import UserError
from llm4brain.hub import copied
from llm4brain.io import Arrays, read_json, write_arrays, write_json
from llm4brain.phantom.dataset import is_simulated
from llm4brain.sources import whole_folder

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
READER, KNOWN, SETTINGS = "reader.safetensors", "known.safetensors", "settings.json"
VIDEO_LLM = "video_llm"
STAGES = ("encoder", "align", "adapt", "tune")


def export(project: Path, settings: Config, arm: str, cohort: str, out: Path) -> None:
    """Write the LLM's adapter, the brain reader, the video-LLM, the settings and a model card.

    Args:
        project: the folder in which the workflow ran: `models/`, `data/`, `results/`.
        settings: of that run.
        arm, cohort: the experiment and the training set of the model.
        out: folder to write. PEFT can load it as an adapter, and transformers its `video_llm/`.

    Raises:
        UserError: the model was not trained there.
    """
    models, tuned_in = (project / home(settings, s, arm, cohort) for s in ("adapt", "tune"))
    video = project / "data" / "features" / "video.safetensors"
    tuned = [tuned_in / "tune" / name for name in (*ADAPTER, "provenance.json")]
    for path in (models / "adapt.safetensors", *tuned, video):
        if not path.is_file():
            wanted = [models / "adapt.safetensors", tuned_in / "tune" / ADAPTER[1]]
            named = " ".join(str(file.relative_to(project)) for file in wanted)
            todo = f"run: snakemake --cores 8 {named}"
            raise UserError(path, "is missing", todo)
    chosen = settings.arm(arm)
    kept = {
        "arm": arm,
        "cohort": cohort,
        "subjects": list(trained_on(cohort, settings.subjects).trained_on),
        "data": "simulated" if is_simulated(settings, project) else "measured",
        "bold": settings.bold.model_dump(mode="json"),
        "clips": settings.clips.model_dump(mode="json"),
        "video_llm": settings.video_llm.source,
        "loaded": settings.video_llm.model_dump(include={"quantize", "device_map"}),
        "max_new_tokens": settings.video_llm.max_new_tokens,
        **{stage: getattr(chosen, stage).model_dump(mode="json") for stage in STAGES},
    }
    made_by = read_json(tuned_in / "tune" / "provenance.json")
    with whole_folder(out) as folder:
        # the project is the user's own: DVC may have made its files links
        copied(project / "models" / "video_llm", folder / VIDEO_LLM, home=Path("/"))
        for name in ADAPTER:
            shutil.copy(tuned_in / "tune" / name, folder / name)
        adapter = read_json(folder / ADAPTER[0])
        write_json(folder / ADAPTER[0], adapter | {"base_model_name_or_path": VIDEO_LLM})
        shutil.copy(models / "adapt.safetensors", folder / READER)
        write_arrays(folder / KNOWN, {"components": known(models / "adapt.safetensors", video)})
        write_json(folder / SETTINGS, kept | {"provenance": made_by})
        (folder / "README.md").write_text(card(kept, made_by, scores(project, arm, cohort)))


def known(adapted: Path, video: Path) -> np.ndarray:
    """The video tokens of the train clips, in the reader's components: (clips, rank)."""
    arrays, tokens = Arrays(adapted), Arrays(video)
    basis = Basis(*(arrays[f"basis.{name}"] for name in ("mean", "axes", "scale", "weights")))
    clips = sorted(set(arrays.meta["train_clips"]))
    rows = rows_of(tokens.meta["clip_id"], clips)
    return basis.read(tokens.mapped("video_tokens"), rows)


def scores(project: Path, arm: str, cohort: str) -> pd.DataFrame:
    """Scores of the model on single showings, as decoded by `llm4brain decode`, and on averages."""
    rows = []
    for path in sorted((project / "results" / arm / cohort).glob("sub-*/metrics.json")):
        found = read_json(path)
        columns = ("n_clips", "cider", "cider_low", "cider_high", "similarity", "top1")
        for system in ("model_single", "model"):
            if own := found["systems"].get(system):
                rows.append(
                    {"system": system, "subject": found["subject"], **{c: own[c] for c in columns}}
                    | {"references": found["references"], "sha256": found["references_sha256"][:12]}
                )
    return pd.DataFrame(rows)


def card(kept: dict[str, Any], made_by: dict[str, Any], found: pd.DataFrame) -> str:
    """The model card, filled in from the run."""
    simulated = kept["data"] == "simulated"
    versions = ", ".join(f"{name} {version}" for name, version in made_by["versions"].items())
    table = "not scored in this run"
    if len(found):
        head = "| " + " | ".join(found.columns) + " |"
        rows = ["| " + " | ".join(_cell(v) for v in row) + " |" for row in found.to_numpy()]
        table = "\n".join([head, "|" + "---|" * len(found.columns), *rows])
    about = "**simulated data (the phantom): nobody was scanned**" if simulated else "measured BOLD"
    return f"""---
library_name: peft
base_model: {VIDEO_LLM}
tags: [fmri, brain-decoding, video, {"simulated" if simulated else "measured"}]
---
# LLM4Brain: text from the BOLD of people who watch videos

Arm `{kept["arm"]}`, trained on sub-{", sub-".join(kept["subjects"])}: {about}.

| file | what it is |
|---|---|
| `{ADAPTER[1]}`, `{ADAPTER[0]}` | LoRA of the LLM, in PEFT's format |
| `{READER}` | SC-MBM, gate, adaptor, the readout to query tokens |
| `{VIDEO_LLM}/` | the video-LLM (`{kept["video_llm"]}`), in transformers' format |
| `{KNOWN}` | where the train clips lie, to tell a reading from noise |
| `{SETTINGS}` | settings and provenance |

## Use

```
llm4brain decode --model . --bold sub-01_..._bold.nii.gz --interval 4 --out captions.tsv
```

BOLD must be fMRIPrep's, in {
        kept["bold"]["space"]
    }, with its mask and confounds beside it; the window is
{kept["clips"]["window"]:g} s long and begins {kept["clips"]["lag"]:g} s after what was seen.

## How it scored

{table}

`model` reads the mean over a clip's showings, `model_single` one showing, as the command above
does. CIDEr on the 0-100 scale, 95% intervals over clips. They mean nothing without the floors of
the same run (results/table1.csv).

## Limits

It says something of any BOLD, noise included. `p_noise` beside a text tells whether noise of the
run's own spatial and temporal structure comes as near to some clip of the training; it does not
tell whether the text is right, and it is not corrected for the number of rows. The model was
trained on the subjects above alone; a subject whom it does not know is read by what they share.{
        " It says nothing about brains." if simulated else ""
    }

Code {made_by["code"]}, seed {made_by["seed"]}; {versions}.
"""


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
