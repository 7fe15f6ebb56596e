"""How far the model leads each other system, clip by clip: what two intervals cannot tell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.bootstrap import blocks, interval, resample
from llm4brain.evaluate.names import COMPARED

COLUMNS = ("subject", "system", "other", "metric", "difference", "low", "high")


def lead(
    predictions: Mapping[str, pd.DataFrame],
    subject: str,
    seconds: float,
    samples: int,
    seed: int,
    system: str = "model",
) -> pd.DataFrame:
    """The system's mean minus every other's, with 95% intervals on the same resamples.

    Args:
        predictions: system -> a subject's predictions file: clip_id and the metrics that lead.
        subject: label.
        seconds: length of the blocks that are resampled.
        samples: resamples.
        seed: of the resamples.
        system: whose lead.

    Returns:
        A row another system and metric, `COLUMNS`; none where a system has no number.

    Raises:
        UserError: two systems are not of the same clips.
    """
    own = predictions[system]
    clip_ids = own["clip_id"].tolist()
    block = blocks(clip_ids, seconds)
    weights = resample(block, samples, seed)
    total = weights.sum(axis=1)
    rows = []
    for name in sorted(set(predictions) - {system}):
        table = predictions[name].set_index("clip_id")
        if sorted(table.index) != sorted(clip_ids):
            wrong = f"{name} and {system} of subject {subject} are not of the same clips"
            raise UserError("predictions", wrong, "decode both again")
        table = table.loc[clip_ids]
        for metric in COMPARED:
            apart = own[metric].to_numpy(float) - table[metric].to_numpy(float)
            if not np.isfinite(apart).all():
                continue
            low, high = interval(weights @ apart / total, int(block.max()) + 1)
            rows.append((subject, system, name, metric, apart.mean(), low, high))
    return pd.DataFrame(rows, columns=list(COLUMNS))
