"""Retrieval of one subject's test clips from BOLD windows at different lags."""

from pathlib import Path

import numpy as np

from llm4brain import steps
from llm4brain.align.reader import BrainReader
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
    reader, tokens = BrainReader.load(Arrays(adapted)), Arrays(video)
    flat = tokens["video_tokens"].reshape(len(tokens.meta["clip_id"]), -1)

    def read(windows: np.ndarray) -> np.ndarray:
        found = reader.components(windows, np.full(len(windows), subject))
        return reader.query_tokens(found).reshape(len(windows), -1)

    table = lag_sweep(
        list(read_runs(Arrays(bold))),
        read_table(clips),
        window,
        read,
        dict(zip(tokens.meta["clip_id"], flat, strict=True)),
        reader.basis.mean,
        chosen.repeats,
        chosen.block_seconds,
        chosen.n_bootstrap,
        seed,
    )
    write_table(out, table)
    save(draw_lags(table, window.lag, title), plot, dpi=130)


if __name__ == "__main__":
    steps.run(main)
