"""The training state after each epoch, in one folder, from which an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm4brain.errors import UserError
from llm4brain.io import read_json, whole, write_json


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
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def save(self, epoch: int, state: dict[str, Tensor], log: list[dict[str, float]]) -> None:
        """Write weights, best weights and optimizer moments, then the index that names the file."""
        if not self.writes:
            return
        name = f"epoch-{epoch:04d}.safetensors"
        with whole(self.folder / name) as partial:
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
        self.clear()
        return None

    def clear(self) -> None:
        """See `remove_checkpoint`."""
        if self.writes:
            remove_checkpoint(self.folder)


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, and its folder if nothing else lies there."""
    (folder / "index.json").unlink(missing_ok=True)
    _delete(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _delete(folder: Path, keep: str = "") -> None:
    """Delete weights other than `keep`, and partial files left by a killed process."""
    for pattern in ("epoch-*.safetensors", ".partial-*"):
        for old in folder.glob(pattern):
            if old.name != keep:
                old.unlink()


def snapshot(optimizer, params: dict[str, Tensor], best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, best weights and Adam's moments as flat tensors, without pickle."""
    state = {f"weight.{n}": p for n, p in params.items()}
    state |= {f"best.{n}": p for n, p in best.items()}
    for n, p in params.items():
        for key, value in optimizer.state.get(p, {}).items():
            state[f"adam.{key}.{n}"] = torch.as_tensor(value)
    return state


def restore(optimizer, params: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Load a `snapshot` into the parameters and the optimizer."""
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(state[f"weight.{n}"])
            optimizer.state[p] = {
                key: state[f"adam.{key}.{n}"].to(p.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{n}" in state
            }
