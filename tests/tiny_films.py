"""Three films of four clips of 2 s: a grey level each, and two captions."""

from pathlib import Path

import av
import numpy as np
import pandas as pd


def grey_films(folder: Path) -> Path:
    """`film-0.mp4` to `film-2.mp4` and their captions."""
    for f in range(3):
        rows = []
        with av.open(str(folder / f"film-{f}.mp4"), "w") as out:
            stream = out.add_stream("mpeg4", rate=4)
            stream.width = stream.height = 32
            for clip in range(4):
                what = ("dog", "cat")[clip % 2]
                grey = np.full((32, 32, 3), 60 + 120 * (clip % 2) + 10 * f, np.uint8)
                for _ in range(8):
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
                rows += [(2.0 * clip, 2.0, f"A {what} is running."), (2.0 * clip, 2.0, f"a {what}")]
            out.mux(stream.encode(None))
        table = pd.DataFrame(rows, columns=["onset", "duration", "caption"])
        table.to_csv(folder / f"film-{f}_captions.tsv", sep="\t", index=False)
    return folder


def some_clips() -> pd.DataFrame:
    """Four clips of two of the films, in no order."""
    rows = [(f"film-{f}_{2.0 * i}", f"film-{f}.mp4", 2.0 * i, 2.0) for f in (2, 0) for i in (3, 1)]
    return pd.DataFrame(rows, columns=["clip_id", "stim_file", "onset", "duration"])
