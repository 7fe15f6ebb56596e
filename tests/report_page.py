"""A page made of invented figures, for the tests of the page itself."""

import json
from io import StringIO

import numpy as np
import pandas as pd

from llm4brain.config import load
from llm4brain.evaluate.names import COMPARED, METRICS
from llm4brain.evaluate.table import MORE, table1
from llm4brain.report.contents import contents
from llm4brain.report.pictures import NO_STRIPS

SYSTEMS = {"model": "model", "ridge": "baseline", "constant": "floor", "rolled": "floor"}
SYSTEMS |= {"other_subject": "control", "video": "ceiling"}
SUBJECTS = ("01", "02")
CLIPS = [f"film-{f}_{4 * i:06.1f}" for f in (11, 12) for i in range(15)]
HARM = '<script>window.harm = 1</script><img src=x onerror="window.harm = 1">'
BEST = {"model": 150.0, "ridge": 110.0, "constant": 58.0, "rolled": 40.0, "other_subject": 90.0}


def clip_table():
    rows = [clip.split("_") for clip in CLIPS]
    return pd.DataFrame(
        {
            "clip_id": CLIPS, "stim_file": [f"{film}.mp4" for film, _ in rows],
            "onset": [float(onset) for _, onset in rows], "duration": 4.0, "split": "test",
        }
    )  # fmt: skip


def predictions(said="A dog is running."):
    """Scores that no two clips of a subject share; the model's text is `said`."""
    draw, found = np.random.default_rng(5), {}
    for subject in SUBJECTS:
        for system, kind in SYSTEMS.items():
            found.setdefault(subject, {})[system] = pd.DataFrame(
                {
                    "clip_id": CLIPS, "subject": subject, "system": system, "kind": kind,
                    "text": said if system == "model" else f"What {system} says.",
                    "references": json.dumps(["A dog runs.", "A dog is running fast."]),
                    "cider": draw.permutation(len(CLIPS)) * 10.0 + draw.random(),
                    "similarity": draw.permutation(len(CLIPS)) / 30,
                    "top1": draw.integers(0, 2, len(CLIPS)) * 100.0,
                }
            )  # fmt: skip
    return found


def scored(data="simulated", references="human"):
    """Two metrics.json, with values of their own in every column."""
    found = {}
    for s, subject in enumerate(SUBJECTS):
        systems = {}
        for i, (system, kind) in enumerate(SYSTEMS.items()):
            base = BEST.get(system, 360.0) + s
            own = {m: base / 10 + j for j, m in enumerate((*METRICS, *MORE))}
            own |= {"cider": base, "similarity": base / 400, "top1": base / 4}
            for m in COMPARED:
                own |= {f"{m}_low": own[m] * 0.9, f"{m}_high": own[m] * 1.1, f"{m}_p": 0.0123 + i}
            systems[system] = {"kind": kind, "n_clips": len(CLIPS), **own}
        found[f"sub-{subject}/metrics.json"] = {
            "subject": subject, "data": data, "references": references,
            "references_sha256": "f00d" * 16, "systems": systems,
            "provenance": {"code": "c0de", "seed": 0, "versions": {"torch": "2.0"}},
        }  # fmt: skip
    return found


def lead(**ends):
    """The model's lead: by metric the (low, high) of each subject; ahead where none are given."""
    rows = []
    for i, subject in enumerate(SUBJECTS):
        for other in (s for s in SYSTEMS if s != "model"):
            for metric in COMPARED:
                low, high = ends[metric][i] if other == "ridge" and metric in ends else (0.1, 0.3)
                rows.append((subject, "model", other, metric, (low + high) / 2, low, high))
    columns = ["subject", "system", "other", "metric", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(data="simulated")


def table2():
    """Rows of two subjects and their mean: full, an arm alike, a worse one, a ridge, cohorts."""
    rows = []
    for part, arm, training, cider in (
        ("full", "full", "all", 50.0),
        ("ablation", "no-gap", "all", 50.0),
        ("ablation", "untrained", "all", 20.0),
        ("ridge", "ridge_gate", "own", 60.0),
        ("cohort", "full", "without", 20.0),
        ("cohort", "full", "without-4min-unlabelled", 40.0),
        ("cohort", "full", "without-4min-alone", 30.0),
    ):
        for subject, more in (("01", 2.0), ("02", -2.0), ("mean", 0.0)):
            row = {"part": part, "arm": arm, "training": training, "subject": subject}
            row |= {"differs": "" if arm == "full" else f"of {arm}", "minutes": 32}
            row |= {"over": "ridge_plain" if part == "ridge" else "full"}
            for metric in ("cider", "similarity", "top1"):
                value = cider + more
                row |= {metric: value, f"{metric}_low": value - 9, f"{metric}_high": value + 9}
                row |= {f"{metric}_{end}": v for end, v in BESIDE.items()}
                lead = (cider - 50) * (more != -2 or arm != "untrained")
                row |= {f"{metric}_lead": lead, f"{metric}_lead_low": lead - 9 * (lead != 0)}
                row |= {f"{metric}_lead_high": lead + 9 * (lead != 0)}
                over_alone = 10.0 if training.endswith("unlabelled") else np.nan
                row |= {f"{metric}_alone_lead{end}": over_alone for end in ("", "_low", "_high")}
            rows.append({k: None if part == "full" and "_lead" in k else v for k, v in row.items()})
    return pd.DataFrame(rows)


BESIDE = {"floor": 11.0, "ridge": 33.0, "ceiling": 99.0}


def cells(table):
    """A table as `read_cells` has it from the file that `write_table` makes."""
    file = StringIO(table.to_csv(index=False, na_rep="n/a", float_format="%.6g"))
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def log():
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2], "loss": [np.nan, 2.0, 1.0], "val_loss": [3.0, 1.5, 1.6],
            "best": [False, True, False],
        }
    )  # fmt: skip


def sweep():
    lags = np.arange(-20, 21, 2)
    top1 = 5 + 25 * np.exp(-(((lags - 6) / 4) ** 2))
    return pd.DataFrame(
        {
            "lag": lags, "n_clips": 30, "top1": top1, "top1_low": top1 - 4, "top1_high": top1 + 4,
            "chance": 3.3, "match": 0.1, "match_low": 0.0, "match_high": 0.2,
        }
    )  # fmt: skip


def parts(strips=NO_STRIPS, **other):
    """What the template takes; `other` replaces what `contents` takes."""
    found = scored()
    given = {
        "settings": load("config.yaml"),
        "table": table1(found),
        "lead": cells(lead()),
        "scored": found,
        "predictions": predictions(),
        "clips": clip_table(),
        "logs": {"pretrain": cells(log()), "tune": cells(log())},
        "sweeps": dict.fromkeys(SUBJECTS, cells(sweep())),
        "maps": {},
        "checks": [],
        "more": {},
    }
    return contents(**given | other) | {"strips": strips}
