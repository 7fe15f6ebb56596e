"""Shared test helpers: the workflow as a user calls it, and one run of the tiny data set."""

import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest
import yaml
from bad_input import pytest_runtest_call, pytest_sessionfinish
from filelock import FileLock

from llm4brain.phantom.grammar import captions, every_scene

__all__ = ["pytest_runtest_call", "pytest_sessionfinish"]  # hooks
ROOT = Path(__file__).parent.parent
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
TINY = ROOT / "configs" / "tiny.yaml"
GONE = 2**22 + 1  # no process has this number
BLOCK = 8.0  # s, of the block bootstrap: short, so that ten clips give several blocks
# Files of the longest tests start first, so that none runs alone at the end. Those that use the
# shared run come last: by then `test_workflow` has made it, and no worker waits for it.
FIRST = ("test_workflow", "test_dvc", "test_wen2018_workflow", "test_null", "test_options_workflow")
LAST = (
    "test_checks",
    "test_maps",
    "test_release",
    "test_report_browser",
    "test_snr",
    "test_table2",
)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, CHROMIUMS)), None)
SCREENS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on the PATH: get one by `apt-get install chromium` (Debian)",
)
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # Divide the cores among workers: more threads than cores slow torch down fourfold.
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    cores = sorted(os.sched_getaffinity(0))
    own = cores[worker :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])] or cores
    os.sched_setaffinity(0, own)
    os.environ["OMP_NUM_THREADS"] = str(len(own))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked long")
    parser.addoption("--write-bad-input", action="store_true", help="docs/bad-input.md anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip long tests unless asked for, and order the files: pytest-xdist assigns whole files."""
    first, last = FIRST, LAST
    if not config.getoption("--long"):
        first, last = FIRST[:1], (*LAST, "test_dvc")
        skip = pytest.mark.skip(reason="takes a minute or more: run with --long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return first.index(name) - len(first) if name in first else int(name in last)

    items.sort(key=place)


def snakemake(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real workflow in another folder, by absolute path and without activation."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--directory", directory]
    return subprocess.run(
        list(map(str, [*command, "--cores", 8, *arguments])),
        capture_output=True,
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )


def environment() -> dict[str, str]:
    """That of a shell in which `.venv` is not active."""
    out = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    parts = out["PATH"].split(os.pathsep)
    own = Path(sys.executable).parent
    return out | {"PATH": os.pathsep.join(p for p in parts if Path(p) != own)}


def planned(directory: Path, *arguments: object) -> tuple[int, str]:
    """Exit status and output of `snakemake --dry-run`.

    The process is forked from one that has imported Snakemake, which takes longer than planning.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["preload"])
    with pytest.MonkeyPatch.context() as patch:  # Python 3.11 does not pass sys.path on
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        forkserver.ensure_running()
    words = ["--snakefile", ROOT / "Snakefile", "--directory", directory, "--cores", 8]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        words = [str(word) for word in (*words, "--dry-run", *arguments)]
        run = server.Process(target=_plan, args=(words, said, environment()))
        run.start()
        run.join()
        return run.exitcode, said.read_text()


def _plan(words: list[str], said: Path, variables: dict[str, str]) -> None:
    """In a process of its own: what the command `snakemake` does."""
    from snakemake.cli import main

    os.environ.clear()
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = [SNAKEMAKE, *words]
    main(words)


def counted(said: str) -> dict[str, int]:
    """Number of jobs of each rule, from the table that Snakemake prints before it runs them."""
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", said, re.MULTILINE | re.DOTALL)
    if table is None:
        return {}
    return {name: int(count) for name, count in (row.split() for row in table[1].splitlines())}


def jobs(directory: Path, *arguments: object) -> dict[str, int]:
    """Number of jobs of each rule in a dry run."""
    code, said = planned(directory, *arguments)
    assert code == 0, said
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
        settings["evaluate"]["block_seconds"] = BLOCK
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


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a file or an address; at the end of the test it has complained of nothing, and asked for
    nothing but itself and what lies `within` (the beginning of an address)."""
    pages, wrong = [], []

    def visit(place: Path | str, within: str | None = None, **options):
        address = place.as_uri() if isinstance(place, Path) else place
        allowed = (within or address, "data:")
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(allowed) else wrong.append(r.url))
        page.goto(address)
        return page

    yield visit
    for page in pages:
        page.close()
    assert not wrong
