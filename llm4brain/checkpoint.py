"""What a stage has finished, in one folder, from which a run that was killed resumes.

`Checkpoint` holds the training state after the last epoch. `Progress` holds finished parts of all
other work: numbers and texts as JSON lines, tensors as safetensors files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm4brain.errors import UserError, needs_space
from llm4brain.io import Stream, atomic_write, read_json, readable, stream_arrays, write_json


class Checkpoint:
    """The training state after each epoch, in one folder; with another `identity`, training
    restarts.

    Args:
        folder: of the checkpoint.
        identity: must be equal for the checkpoint to be resumed.
        writes: whether this process writes and deletes; among several processes, only one does.
    """

    def __init__(self, folder: Path, identity: object, writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self.identity = _digest(identity)

    def save(self, epoch: int, state: dict[str, Tensor], log: list[dict[str, float]]) -> None:
        """Write weights, best weights and optimizer moments, then the index that names the file."""
        if not self.writes:
            return
        name = f"epoch-{epoch:04d}.safetensors"
        with atomic_write(self.folder / name) as partial:
            save_file({k: v.detach().cpu().clone() for k, v in state.items()}, partial)
        index = {"epoch": epoch, "file": name, "identity": self.identity, "log": log}
        write_json(self.folder / "index.json", index)
        _delete(self.folder, keep=name)

    def load(self) -> tuple[int, dict[str, Tensor], list[dict[str, float]]] | None:
        """The last complete epoch, or None if there is none with this identity."""
        try:
            index = read_json(self.folder / "index.json")
            if index["identity"] == self.identity:
                return index["epoch"], load_file(self.folder / index["file"]), index["log"]
        except (UserError, KeyError, OSError, SafetensorError):
            pass  # missing or damaged: nothing to resume
        if self.writes:
            (self.folder / "index.json").unlink(missing_ok=True)
            _delete(self.folder)
        return None


class Progress:
    """Finished parts of a stage. A repeated run takes them from the folder.

    Parts that were made with another `identity` are deleted.

    Args:
        folder: of the stage's checkpoint; None: nothing is kept.
        identity, writes: see `Checkpoint`.
    """

    def __init__(
        self, folder: Path | None = None, identity: object = None, writes: bool = True
    ) -> None:
        self.folder, self.writes = folder, writes
        self._own = f"part-{_digest(identity)[:16]}"
        self._values: dict[str, Any] = {}
        if folder is None:
            return
        if writes:
            for old in folder.glob("part-*"):
                if not old.name.startswith(self._own):
                    old.unlink()
        self._read()

    def _read(self) -> None:
        """Read the values that are kept."""
        if self._lines.is_file():
            for line in self._lines.read_text(errors="replace").split("\n"):
                try:
                    name, value = json.loads(line)
                except ValueError:  # the run was killed while it wrote this line
                    continue
                self._values[name] = value

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self._own}.jsonl"

    def value(self, key: object, make: Callable[[], Any]) -> Any:
        """The value of `make()`, as JSON holds it; `make` is called if it is not kept yet.

        Args:
            key: JSON-serialisable; everything that the value depends on besides the identity.
        """
        if self.folder is None:
            return json.loads(json.dumps(make()))
        name = _digest(key)
        if name not in self._values:
            self._keep(name, make())
        return self._values[name]

    def _keep(self, name: str, value: Any) -> None:
        """Append a value; of several of one name, the last one counts."""
        line = json.dumps([name, value])
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lines.open("a") as file:
                file.write(f"\n{line}")  # a new line first, since a kill may have cut the last one
        self._values[name] = json.loads(line)[1]

    def tensors(
        self, key: object, make: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        """As `value`, for named tensors. Kept ones are on the CPU."""
        if self.folder is None:
            return make()
        path = self.folder / f"{self._own}-{_digest(key)[:16]}.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            pass  # missing or damaged
        made = make()
        if self.writes:
            with atomic_write(path) as partial:
                flat = {k: v.detach().cpu().contiguous().clone() for k, v in made.items()}
                save_file(flat, partial)
        return made

    def stream(
        self,
        path: Path,
        shapes: Mapping[str, tuple[str, tuple[int, ...]]],
        batches: Iterable[Callable[[], Mapping[str, np.ndarray]]],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the bytes of `stream_arrays`. The rows of finished batches are not made again.

        The file lies in the folder until it is complete.

        Args:
            path, shapes, meta: see `stream_arrays`.
            batches: each makes the next rows of some of the arrays.

        Raises:
            ValueError: the rows do not match `shapes`.
            UserError: the disk is full, or another process writes the same file.
        """
        if self.folder is None:
            parts = (part for make in batches for part in make().items())
            return stream_arrays(path, shapes, parts, meta)
        stream, partial = Stream(shapes, meta), self.folder / f"{self._own}.stream"
        name = _digest(["stream", path.name])
        with needs_space(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.folder / f"{self._own}.lock"
            with lock.open("w") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    todo = "wait until it has ended"
                    raise UserError(path, "is being written by another process", todo) from None
                self._read()  # what another process has finished in the meantime
                self._write(stream, partial, name, batches)
                stream.require_complete()
                path.parent.mkdir(parents=True, exist_ok=True)
                readable(partial)
                os.replace(partial, path)

    def _write(
        self,
        stream: Stream,
        partial: Path,
        name: str,
        batches: Iterable[Callable[[], Mapping[str, np.ndarray]]],
    ) -> None:
        """Write the batches that are not finished yet."""
        whole_size = partial.is_file() and partial.stat().st_size == stream.size
        if not whole_size or name not in self._values:
            self._keep(name, [0, stream.done])
            with partial.open("wb") as file:
                stream.begin(file)
        finished, stream.done = self._values[name]
        with partial.open("r+b") as file:
            for i, make in enumerate(islice(batches, finished, None), start=finished + 1):
                for array, rows in make().items():
                    stream.put(file, array, rows)
                file.flush()
                self._keep(name, [i, stream.done])


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint and progress, and the folder if nothing else lies there."""
    (folder / "index.json").unlink(missing_ok=True)
    _delete(folder)
    for old in folder.glob("part-*"):
        old.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def stamp(path: Path) -> list[Any]:
    """Name, size and time of the last change: the identity of a file too large to hash."""
    if not path.is_file():  # whoever reads it says so
        return [path.name]
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns]


def hash_of(*tensors: Tensor) -> str:
    """SHA-256 of values and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def _digest(value: object) -> str:
    """SHA-256 of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _delete(folder: Path, keep: str = "") -> None:
    """Delete weights other than `keep`, and partial files left by a killed process."""
    for pattern in ("epoch-*.safetensors", ".partial-*"):
        for old in folder.glob(pattern):
            if old.name != keep:
                old.unlink()


def snapshot(optimizer, params: dict[str, Tensor], best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, best weights, Adam's moments and torch's random state as flat tensors.

    Epochs are seeded, but what follows training may draw numbers, such as LoRA's first weights.
    """
    state = {f"weight.{n}": p for n, p in params.items()}
    state["random"] = torch.get_rng_state()
    state |= {f"best.{n}": p for n, p in best.items()}
    for n, p in params.items():
        for key, value in optimizer.state.get(p, {}).items():
            state[f"adam.{key}.{n}"] = torch.as_tensor(value)
    return state


def restore(optimizer, params: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Load a `snapshot` into the parameters, the optimizer and torch's random state."""
    torch.set_rng_state(state["random"])
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(state[f"weight.{n}"])
            optimizer.state[p] = {
                key: state[f"adam.{key}.{n}"].to(p.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{n}" in state
            }


NO_PROGRESS = Progress()
