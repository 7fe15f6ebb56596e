"""Retrieval of one subject's test clips from BOLD windows at different lags."""

from pathlib import Path

import numpy as np

from llm4brain import steps
from llm4brain.align.basis import Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain import cohort
from llm4brain.clips import read_runs
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.lags import draw_lags, lag_sweep
from llm4brain.io import Arrays, read_table, write_table
from llm4brain.sections import ClipSettings, EvaluateSettings


def main(
    subject: str,
    bold: Path,
    clips: Path,
    video: Path,
    adapted: Path,
    out: Path,
    plot: Path,
    title: str,
    settings: str,
    clip_settings: str,
    seed: int,
    code: str = "",
) -> None:
    chosen, window = EvaluateSettings.given(settings), ClipSettings.given(clip_settings)
    reader, tokens, table = BrainReader.load(Arrays(adapted)), Arrays(video), read_table(clips)
    names = table.loc[table["split"] == "test", "clip_id"].tolist()
    space = Space.of(reader.basis)
    rows = cohort.rows_of(tokens.meta["clip_id"], names)
    truth, norms = space.truth(tokens.mapped("video_tokens"), rows)

    def read(windows: np.ndarray) -> np.ndarray:
        found = reader.components(windows, np.full(len(windows), subject))
        return space.coordinates(found * reader.basis.weights)

    found = lag_sweep(
        list(read_runs(Arrays(bold))),
        table,
        window,
        read,
        dict(zip(names, truth, strict=True)),
        dict(zip(names, norms, strict=True)),
        chosen.repeats,
        chosen.block_seconds,
        chosen.n_bootstrap,
        seed,
    )
    write_table(out, found)
    save(draw_lags(found, window.lag, title), plot, dpi=130)


if __name__ == "__main__":
    steps.run(main)
