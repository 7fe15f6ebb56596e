"""Compare each subject's map and lag sweep with the ground truth of the phantom."""

from pathlib import Path

import nibabel as nib

from llm4brain import steps
from llm4brain.evaluate.checks import gate_check, lag_checks, map_checks, table
from llm4brain.io import Arrays, read_json, read_table, write_table
from llm4brain.sections import ClipSettings


def main(
    subject: list[str],
    maps: list[Path],
    z: list[Path],
    about: list[Path],
    lags: list[Path],
    truth: list[Path],
    gate: Path,
    out: Path,
    clip_settings: str,
    code: str = "",
) -> None:
    window, rows = ClipSettings.given(clip_settings), {}
    for label, *files in zip(subject, maps, z, about, lags, truth, strict=True):
        planted = Arrays(files[4])
        found = map_checks(nib.load(files[0]), nib.load(files[1]), read_json(files[2]), planted)
        found += lag_checks(read_table(files[3]), planted, window)
        rows[label] = [*found, gate_check(nib.load(gate), planted)]
    write_table(out, table(rows))


if __name__ == "__main__":
    steps.run(main)
