"""Table 2, or only its part about cohorts, from the individual results."""

import json
from pathlib import Path

from llm4brain import steps
from llm4brain.arms import cohort
from llm4brain.evaluate.table2 import CHOSEN, RIDGES, SYSTEM, Cell, table2
from llm4brain.io import Arrays, read_json, read_table, write_table
from llm4brain.sections import ClipSettings, EvaluateSettings


def main(
    metrics: list[Path],
    adapted: list[Path],
    reference: list[Path],
    trials: list[Path],
    subject: list[str],
    arms: str,
    out: Path,
    settings: str,
    clip_settings: str,
    seed: int,
    ridges: list[Path] = (),
    code: str = "",
) -> None:
    """`metrics` and `adapted` have one file per result, `reference` and `trials` one per subject.

    `ridges` are predictions of the ridge systems in `reference`.
    """
    seconds = ClipSettings.given(clip_settings).duration
    scanned = {}
    for label, path in zip(subject, trials, strict=True):
        rows = read_table(path, ("split",))
        scanned[label] = (rows["split"] == "train").sum() * seconds / 60
    found = {label: read_json(path) for label, path in zip(subject, reference, strict=True)}
    cells = []
    for path, model in zip(metrics, adapted, strict=True):
        arm, trained, folder = path.parts[-4:-1]
        label, meta = folder.removeprefix("sub-"), Arrays(model).meta
        said = read_table(path.parent / "predictions" / f"{SYSTEM}.tsv", ("clip_id",))
        who = cohort(trained, subject)
        its = meta if label in who.members else meta["new"]  # for a subject with little or no data
        made = (who, scanned[label], read_json(path), said, {name: its[name] for name in CHOSEN})
        cells.append(Cell(arm, trained, label, *made))
    for path in (path for path in ridges if path.stem in RIDGES):
        trained = path.parts[-4]
        label, said = trained.removeprefix("sub-"), read_table(path, ("clip_id",))
        made = (cohort(trained, subject), scanned[label], found[label], said, {})
        cells.append(Cell(path.stem, trained, label, *made))
    table = table2(cells, found, json.loads(arms), EvaluateSettings.given(settings), seed)
    write_table(out, table)
    print(table[["arm", "cohort", "subject", "cider", "similarity", "top1"]].to_string(index=False))


if __name__ == "__main__":
    steps.run(main)
