"""Convert the tables of a run to the variables of the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from llm4brain.config import Config
from llm4brain.errors import UserError
from llm4brain.evaluate.names import COMPARED
from llm4brain.report import curves, glossary, tables
from llm4brain.report.arms import arms
from llm4brain.report.cells import numeric
from llm4brain.report.findings import findings
from llm4brain.report.gallery import cards
from llm4brain.report.pictures import Picture

TITLE = "Text decoded from the BOLD of people watching films"
SIMULATED = "Text decoded from simulated BOLD"


def contents(
    settings: Config,
    table: pd.DataFrame,
    lead: pd.DataFrame,
    scored: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    clips: pd.DataFrame,
    logs: Mapping[str, pd.DataFrame],
    sweeps: Mapping[str, pd.DataFrame],
    maps: Mapping[str, Picture],
    checks: Sequence[pd.DataFrame],
    more: Mapping[str, tuple[Sequence[pd.DataFrame], Sequence[Picture]]],
) -> dict[str, Any]:
    """All parts of the page except the frames of clips (`strips`).

    Args:
        settings: of the run; shown on the page so that it can be reproduced.
        table, lead: table1.csv and table1_lead.csv, as text from `read_cells`.
        scored: name of a metrics.json -> its content.
        predictions: subject -> system -> its predictions file.
        clips: the clip table.
        logs: stage -> its training log.
        sweeps: subject -> its lag sweep.
        maps: subject -> its brain map.
        checks: tables that compare results with the ground truth.
        more: stem of a part in `glossary.PARTS` -> its tables and pictures.

    Raises:
        UserError: a stage or a part is unknown, or the tables are incomplete.
    """
    for known, given in ((glossary.STAGES, logs), (glossary.PARTS, more)):
        if strange := sorted(set(given) - set(known)):
            raise UserError(
                strange[0], "is not a part of the page", f"name one of {', '.join(known)}"
            )
    numbers, ahead = numeric(table), numeric(lead)
    found = findings(numbers, ahead, clips["stim_file"].nunique())
    known = {"phantom": "the phantom", "wen2018": "Wen 2018"}
    data = known.get(settings.dataset) or Path(settings.bids_dir or "").name
    parts = [
        {
            "stem": stem, "title": part.title, "about": part.about, "command": part.command(stem),
            "arms": arms(more[stem][0][0]) if stem == "table2" and stem in more else None,
            "tables": [tables.plain(t) for t in more.get(stem, ((), ()))[0]],
            "pictures": more.get(stem, ((), ()))[1],
        }
        for stem, part in glossary.PARTS.items()
    ]  # fmt: skip
    listed = [("table1", "Table 1"), ("lead", "Lead")]
    there = [part for part in parts if part["stem"] in more]
    listed += [(part["stem"], part["title"].partition(":")[0]) for part in there]
    listed += [("lags", "Lag")] if sweeps else []
    listed += [("maps", "Brain")] if maps or checks else []
    listed += [("gallery", "Every clip"), ("training", "Training")]
    missing = [
        part
        for part in parts
        if part not in there and (found.simulated or not glossary.PARTS[part["stem"]].of_phantom)
    ]
    listed += [("more", "On request")] if missing else []
    listed += [("settings", "Settings")]
    return {
        "title": f"{SIMULATED if found.simulated else TITLE}: {data}",
        "found": found,
        "contents": listed,
        "compared": COMPARED,
        "names": glossary.METRICS,
        "explained": glossary.EXPLAINED,
        "systems": {s: t for s, t in glossary.SYSTEMS.items() if s in set(table["system"])},
        "axes": tables.axes_told(tables.column_axes(numbers)),
        "groups": tables.by_kind(table),
        "full": tables.plain(table),
        "leads": tables.leads(ahead, numbers),
        "lead_table": tables.plain(lead),
        "parts": there,
        "missing": missing,
        "sweeps": curves.lags(sweeps, settings.clips.lag),
        "maps": list(maps.items()),
        "checks": [tables.plain(t) for t in checks],
        "cards": cards(clips, predictions, settings.seed),
        "who": {name: glossary.SYSTEMS[system] for system, name in glossary.SAID.items()},
        "stages": curves.training(logs),
        "configuration": yaml.safe_dump(
            settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
        "versions": next(iter(scored.values()))["provenance"]["versions"] if scored else {},
        "provenance": tables.plain(provenance(scored)),
    }


def provenance(scored: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per metrics.json: references, code, seed.

    Raises:
        UserError: one of them is missing.
    """
    rows = []
    for name, metrics in scored.items():
        try:
            made = metrics["provenance"]
            rows.append(
                {
                    "scores": name,
                    "references": metrics["references"],
                    "references_sha256": metrics["references_sha256"],
                    "code": made["code"],
                    "seed": str(made["seed"]),
                }
            )
        except KeyError as error:
            raise UserError(name, f"holds no {error}", "score again") from None
    return pd.DataFrame(rows)
