"""Shared test helpers: the workflow as a user calls it, and one run of the tiny data set."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from llm4brain.phantom.grammar import captions, every_scene

ROOT = Path(__file__).parent.parent
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
TINY = ROOT / "configs" / "tiny.yaml"
BLOCK = 8.0  # s, of the block bootstrap: short, so that ten clips give several blocks
# Test files that run the workflow. They start first, so that none runs alone at the end.
LONG = ("test_dvc", "test_wen2018_workflow", "test_workflow", "test_null", "test_table2",
        "test_options_workflow")  # fmt: skip
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # Divide the cores among workers: more threads than cores slow torch down fourfold.
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    cores = sorted(os.sched_getaffinity(0))
    own = cores[worker :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])] or cores
    os.sched_setaffinity(0, own)
    os.environ["OMP_NUM_THREADS"] = str(len(own))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long test files first: pytest-xdist assigns whole files to workers in this order."""
    if os.environ.get("LLM4BRAIN_QUICK"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(
                    pytest.mark.skip(reason="takes minutes, and LLM4BRAIN_QUICK is set")
                )
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def snakemake(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real workflow in another folder, by absolute path and without activation."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", directory]
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment["PATH"] = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != Path(sys.executable).parent
    )
    return subprocess.run(
        list(map(str, [*command, "--cores", 8, *arguments])),
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def counted(said: str) -> dict[str, int]:
    """Number of jobs of each rule, from the table that Snakemake prints before it runs them."""
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", said, re.MULTILINE | re.DOTALL)
    if table is None:
        return {}
    return {name: int(count) for name, count in (row.split() for row in table[1].splitlines())}


def jobs(directory: Path, *arguments: object) -> dict[str, int]:
    """Number of jobs of each rule in a dry run."""
    done = snakemake(directory, "--dry-run", *arguments)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    found = counted(said)
    assert found or "Nothing to be done" in said, said
    return found


def tiny_llm(folder: Path) -> Path:
    """An untrained two-layer LLM whose vocabulary is the words of the phantom's captions."""
    import torch
    from tiny_models import CHAT, text_config
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    scenes = random.Random(0).sample(every_scene(), 300)
    said = [text for scene in scenes for text in captions(scene, 4, random.Random(0))]
    words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(said).lower())))
    names = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", "describe", "video", *words]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(names))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(text_config("llama", len(vocabulary)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder shared by all workers, made by the first worker that needs it."""
    home = factory.getbasetemp()
    home = home.parent if "PYTEST_XDIST_WORKER" in os.environ else home
    with FileLock(home / f"{name}.lock"):
        if not (home / f"{name}.done").exists():
            (home / name).mkdir()
            make(home / name)
            (home / f"{name}.done").touch()
    return home / name


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory) -> Path:
    """configs/tiny.yaml with a two-layer LLM, so that the workflow takes a minute or two.

    `make run` uses the real LLM.
    """

    def make(folder: Path) -> None:
        settings = yaml.safe_load(TINY.read_text())
        settings["video_llm"]["llm"] = f"path:{tiny_llm(folder / 'llm')}"
        settings["evaluate"]["block"] = BLOCK
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))

    return shared(tmp_path_factory, "settings", make) / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny_settings) -> Path:
    """The folder of one complete run of the tiny data set, including table 1 and its figure.

    Tests that change files in it restore them.
    """

    def make(folder: Path) -> None:
        done = snakemake(folder, "--configfile", tiny_settings)
        assert done.returncode == 0, done.stdout + done.stderr

    return shared(tmp_path_factory, "tiny", make)
