"""The report page of a run: results/report.html."""

from pathlib import Path

from llm4brain import steps
from llm4brain.config import Config
from llm4brain.io import atomic_write, read_json, read_table
from llm4brain.report.cells import read_cells
from llm4brain.report.contents import contents
from llm4brain.report.glossary import SAID
from llm4brain.report.page import render
from llm4brain.report.pictures import NO_STRIPS, PAGE, picture, strips

SCORES = ("clip_id", "text", "references", "cider", "similarity", "top1")


def main(
    table: Path,
    lead: Path,
    metrics: list[Path],
    clips: Path,
    settings: str,
    out: Path,
    films: list[Path] = (),
    logs: list[Path] = (),
    lags: list[Path] = (),
    maps: list[Path] = (),
    checks: list[Path] = (),
    more: list[Path] = (),
    code: str = "",
) -> None:
    scored = {str(path): read_json(path) for path in metrics}
    predictions: dict = {}
    for path in metrics:
        own = predictions.setdefault(scored[str(path)]["subject"], {})
        for system in (s for s in SAID if s in scored[str(path)]["systems"]):
            own[system] = read_table(path.parent / "predictions" / f"{system}.tsv", SCORES)
    every = read_table(clips)
    test = every[every["split"] == "test"]
    parts: dict = {}
    for path in more:
        own = parts.setdefault(path.stem, ([], []))
        own[path.suffix == ".png"].append((picture if path.suffix == ".png" else read_cells)(path))
    page = contents(
        Config.model_validate_json(settings),
        read_cells(table),
        read_cells(lead),
        scored,
        predictions,
        test,
        {path.stem: read_cells(path) for path in logs},
        {_subject(path): read_cells(path) for path in lags},
        {_subject(path): picture(path) for path in maps},
        [read_cells(path) for path in checks],
        parts,
    )
    if films:
        left = PAGE - len(render(**page, strips=NO_STRIPS).encode())
        page["strips"] = strips(films, test, left)
    with atomic_write(out) as partial:
        partial.write_text(render(**{"strips": NO_STRIPS} | page), encoding="utf-8")


def _subject(path: Path) -> str:
    """The label of the subject in whose folder a result lies."""
    return path.parent.name.removeprefix("sub-")


if __name__ == "__main__":
    steps.run(main)
