"""Table 1 from the metrics of every subject, and the model's lead over each other system.

The lead table also compares ridge with and without its options, and with an LLM's words.
"""

from pathlib import Path

import pandas as pd

from llm4brain import steps
from llm4brain.evaluate.paired import lead
from llm4brain.evaluate.table import leading, summary, table1, taken
from llm4brain.io import read_json, read_table, write_json, write_table
from llm4brain.sections import EvaluateSettings

# Comparisons: ridge with the gate, the surprise and all options, and with an LLM's words.
PARTS = (
    ("ridge_gate", "ridge_plain"),
    ("ridge_surprise", "ridge_plain"),
    ("ridge", "ridge_plain"),
    ("ridge_llm", "ridge"),
)


def main(
    metrics: list[Path],
    out: Path,
    leading_out: Path,
    lead_out: Path,
    settings: str,
    seed: int,
    code: str = "",
) -> None:
    chosen = EvaluateSettings.given(settings)
    found = {str(path): read_json(path) for path in metrics}
    table = table1(found)
    predictions: dict[str, dict[str, pd.DataFrame]] = {}
    for path in metrics:
        own = predictions.setdefault(found[str(path)]["subject"], {})
        for system in found[str(path)]["systems"]:
            own[system] = read_table(path.parent / "predictions" / f"{system}.tsv", ("clip_id",))
    leads = []
    for subject, own in predictions.items():
        for system, ending in (("model", ""), ("model_single", "_single")):  # matched repeats
            alike = {k: v for k, v in own.items() if k.endswith("_single") == bool(ending)}
            if system in alike and len(alike) > 1:
                leads.append(
                    lead(alike, subject, chosen.block_seconds, chosen.n_bootstrap, seed, system)
                )
        for pair in PARTS:
            if set(pair) <= own.keys():
                both = {name: own[name] for name in pair}
                leads.append(
                    lead(both, subject, chosen.block_seconds, chosen.n_bootstrap, seed, pair[0])
                )
    write_table(out, table)
    write_json(leading_out, leading(table))
    write_table(lead_out, pd.concat(leads).assign(data=table["data"].iloc[0]).round(4))
    print("\n".join([summary(table), *taken(found)]))


if __name__ == "__main__":
    steps.run(main)
