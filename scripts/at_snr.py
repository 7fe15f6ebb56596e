"""Run the whole workflow on a phantom of another SNR, in a separate folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from llm4brain import steps
from llm4brain.errors import UserError
from llm4brain.evaluate.snr import snr_rows
from llm4brain.io import Arrays, atomic_write, read_json, write_json, write_table


def main(
    snr: float,
    subject: str,
    snakefile: Path,
    video_llm: Path,
    sentence_model: Path,
    shared: list[Path],
    rules: list[str],
    work: Path,
    out: Path,
    settings: str,
    threads: int,
    code: str = "",
) -> None:
    chosen = json.loads(settings)
    chosen["subjects"] = [subject]
    chosen["phantom"]["snr"] = snr
    chosen["video_llm"]["source"] = f"path:{video_llm.resolve()}"
    for section, key in (("captions", "file"), ("splits", "table")):
        if chosen[section].get(key):
            chosen[section][key] = str(Path(chosen[section][key]).resolve())
    # Films and their features do not depend on the SNR. They are copied with their dates, so that
    # an interrupted level can be resumed.
    for file in shared:
        with atomic_write(work / file) as partial:
            shutil.copy2(file, partial)
    unused = dict.fromkeys(("bertscore", "clip_model", "corenlp"))
    chosen["evaluate"] |= {"sentence_model": f"path:{sentence_model.resolve()}", "meteor": False}
    chosen["evaluate"] |= unused
    chosen["table2"] = {"arms": None, "targets": None}  # config.yaml may name other subjects
    write_json(work / "snr.yaml", chosen)  # JSON is YAML
    model = f"results/full/all/sub-{subject}/metrics.json"
    reference = f"results/reference/sub-{subject}/sub-{subject}/metrics.json"
    # Only this job uses the folder, so any lock in it is left over from a killed run.
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", work]
    command += ["--configfile", work / "snr.yaml", "--cores", threads]
    command += ["--nolock", "--rerun-incomplete"]
    command += ["--allowed-rules", *rules, "--", model, reference]
    # what is inherited holds the lock of the outer run (llm4brain.locks)
    done = subprocess.run(list(map(str, command)), close_fds=False)
    if done.returncode:
        raise UserError(work, "did not run to its end", f"see {work}/logs, mend it and run again")
    chosen = Arrays(work / "models/full/all/adapt.safetensors").meta
    write_table(out, snr_rows(snr, read_json(work / model), read_json(work / reference), chosen))
    shutil.rmtree(work)  # two gigabytes that are not needed any more


if __name__ == "__main__":
    steps.run(main)
