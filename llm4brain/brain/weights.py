"""Encoders that others have trained: checkpoints of MinD-Vis and MinD-Video.

Two things can be taken over. With `encoder.tokenizer: patch1d` all of the encoder is: patch
embedding, class token, positions, blocks, final norm, and the decoder of masked modelling where the
file has one of the settings' size. With another tokenizer patch embedding and positions do not fit,
and the transformer blocks alone are taken.

Their files are pickles that also hold the training's settings as an object of a class of theirs.
`torch.load(weights_only=True)` builds tensors and plain values alone and refuses any class, so that
no code of a file can run; the three classes of MinD-Vis's settings are let through by name onto an
empty class of ours, which only keeps their values.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.errors import UserError, some
from llm4brain.io import read_json
from llm4brain.provenance import sha256
from llm4brain.tensors import require_whole

MARK = "patch_embed.proj.weight"  # every encoder of theirs has it, behind whatever prefix
PROJECTION = ("proj.weight", "proj.bias")  # of the patch embedding
NESTED = ("model", "model_state_dict", "state_dict")
DECODER = ("decoder_embed.", "decoder_blocks.", "decoder_norm.", "decoder_pred.", "mask_token")
DECODER += ("decoder_pos_embed",)
AGAIN = "fetch the file again, or correct encoder.weights"


class TheirSettings:
    """Stands in for a settings class of MinD-Vis: values and nothing else."""


STAND_INS = ("Config_MBM_fMRI", "Config_MAE_fMRI", "Config_MBM_finetune", "Config_Generative_Model")


@dataclass(frozen=True)
class Published:
    """A checkpoint's encoder.

    Attributes:
        path: of the file.
        state: its tensors by MinD-Vis's names, without a prefix.
        heads: of encoder and decoder; None where the file does not tell.
        about: name and SHA-256 of the file, and after `into` what was taken of it.
    """

    path: Path
    state: dict[str, Tensor]
    heads: tuple[int | None, int | None]
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, source: str) -> Published:
        """Read a `path:` source.

        Raises:
            UserError: no such file, one that holds more than tensors and plain values, or no
                encoder of theirs in it.
        """
        path = Path(source.removeprefix("path:"))
        if not path.is_file():
            raise UserError(path, "does not exist", "correct encoder.weights")
        held = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
        state = next((held[k] for k in NESTED if isinstance(held.get(k), Mapping)), held)
        tensors = {k: v.float() for k, v in state.items() if isinstance(v, Tensor)}
        prefix = next((k.removesuffix(MARK) for k in tensors if k.endswith(MARK)), None)
        if prefix is None:
            wrong = f"holds no encoder of MinD-Vis or MinD-Video (no {MARK})"
            raise UserError(path, wrong, "correct encoder.weights")
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        about = {"file": path.name, "sha256": sha256(path)}
        return cls(path, own, _heads(path, held.get("config")), about)

    def into(self, model: SCMBM) -> None:
        """Put the weights in place of the model's; `about["taken"]` says which.

        Raises:
            UserError: another size than the settings', with the settings that would fit.
        """
        whole = model.settings.tokenizer == "patch1d"
        self._check(model, whole)
        own = model.state_dict()
        taken = {k: v for k, v in self.state.items() if k.startswith("blocks.")}
        self._require({k: v.shape for k, v in own.items() if k.startswith("blocks.")})
        if strangers := sorted(taken.keys() - own.keys()):
            wrong = f"holds {some(strangers, 3)}, which no encoder of theirs has"
            raise UserError(self.path, wrong, "correct encoder.weights")
        said = f"{model.settings.depth} blocks"
        if self.heads[0] is None:  # shapes do not tell: they are the same for any number
            heads = model.settings.num_heads
            self.about["heads"] = f"not told by the file, {heads} by the settings"
            print(
                f"{self.path}: does not say how many heads it has; encoder.num_heads: {heads} is "
                "taken (MinD-Vis was published with 16; a config.json beside it with num_heads "
                "tells)",
                file=sys.stderr,
            )
        if whole:
            width = model.settings.embed_dim
            parts = {k: own[k].shape for k in ("norm.weight", "norm.bias")}
            parts |= {f"patch_embed.{k}": own[f"tokenizer.{k}"].shape for k in PROJECTION}
            parts["pos_embed"] = torch.Size([1, self._length("pos_embed"), width])
            if "cls_token" in own:
                parts["cls_token"] = torch.Size([1, 1, width])
            self._require(parts)
            taken |= {k: self.state[k] for k in ("norm.weight", "norm.bias")}
            for name in PROJECTION:
                taken[f"tokenizer.{name}"] = self.state[f"patch_embed.{name}"]
            first, taken["pos"] = self._positions("pos_embed", model)
            if "cls_token" in dict(model.named_parameters()):
                # their class token gets a position of its own, which is zero unless retrained
                taken["cls_token"] = self.state["cls_token"] + first
            said = "encoder"
            if decoder := self._decoder(model):
                taken |= decoder
                taken["share"] = torch.zeros(())  # it predicts x, and not what is left of it
                said = "encoder and decoder"
        missing = model.load_state_dict(taken, strict=False).unexpected_keys
        assert not missing, missing
        self.about["taken"] = said
        print(f"{self.path}: {said} taken over", file=sys.stderr)

    def _positions(self, name: str, model: SCMBM) -> tuple[Tensor, Tensor]:
        """That of the class token, and those of the patches, (tokens, width).

        Of another number of voxels, they are stretched as MinD-Vis does: by nearest neighbour.
        """
        first, patches = self.state[name][:, :1], self.state[name][:, 1:]
        frames = getattr(model, "frames", 1)
        wanted = len(model.pos) // frames
        if patches.shape[1] != wanted:
            print(
                f"{self.path}: {name} of {patches.shape[1]} patches stretched to {wanted}",
                file=sys.stderr,
            )
            patches = F.interpolate(patches.transpose(1, 2), size=wanted).transpose(1, 2)
        return first, patches[0].repeat(frames, 1)

    def _decoder(self, model: SCMBM) -> dict[str, Tensor]:
        """The decoder of masked modelling, or nothing if there is none of the model's size."""
        taken = {k: v for k, v in self.state.items() if k.startswith(DECODER)}
        own = model.state_dict()
        names = {k for k in own if k.startswith(DECODER)}
        heads = self.heads[1] in (None, max(1, model.settings.decoder_embed_dim // 32))
        position = taken.pop("decoder_pos_embed", None)
        if position is None or position[:, :1].any() or model.settings.temporal or not heads:
            return {}
        if _blocks(taken, "decoder_blocks.") == _blocks(names, "decoder_blocks."):
            self._require({k: own[k].shape for k in sorted(names - taken.keys())})
        if names != taken.keys():
            return {}
        taken["mask_token"] = taken["mask_token"].flatten()
        if any(own[k].shape != v.shape for k, v in taken.items()):
            return {}
        self._require({k: self.state[k].shape for k in (*taken, "decoder_pos_embed")})
        return taken | {"decoder_pos": self._positions("decoder_pos_embed", model)[1]}

    def _check(self, model: SCMBM, whole: bool) -> None:
        """Refuse weights of another size."""
        fits = self._settings(whole)
        own = model.settings.model_dump()
        differ = {k: v for k, v in fits.items() if own[k] != v}
        if differ:
            todo = ", ".join(f"encoder.{k}: {str(v).lower()}" for k, v in differ.items())
            raise UserError(self.path, "is of another size than the settings", f"set {todo}")
        if not whole and any(k.startswith("blocks.0.attn_temp.") for k in self.state):
            wrong = "attends between volumes (MinD-Video), which this tokenizer leaves no room for"
            raise UserError(
                self.path, wrong, "set encoder.tokenizer: patch1d, encoder.temporal: true"
            )

    def _length(self, name: str) -> int:
        """Positions of a table of them, which are stretched where there are too few."""
        shape = self.state[name].shape if name in self.state else ()
        return max(2, shape[1]) if len(shape) > 1 else 2

    def _require(self, wanted: Mapping[str, torch.Size]) -> None:
        """Refuse a file that lacks a tensor, or holds it in another shape or with NaN.

        Args:
            wanted: shape of each by its name in the file.
        """
        held = {name: self.state[name] for name in wanted if name in self.state}
        require_whole(self.path, held, AGAIN, shapes=wanted)

    def _settings(self, whole: bool) -> dict[str, Any]:
        """The settings under which these weights fit."""
        first = "blocks.0.mlp.fc1.bias"
        if self.state[MARK].ndim != 3 or first not in self.state:
            wrong = f"has no {first}, or a {MARK} that is not of three axes"
            raise UserError(self.path, wrong, AGAIN)
        width, _, cells = self.state[MARK].shape
        blocks, hidden = _blocks(self.state, "blocks."), len(self.state[first])
        fits: dict[str, Any] = {"embed_dim": width, "depth": blocks, "mlp_ratio": hidden / width}
        if self.heads[0] is not None:
            fits["num_heads"] = self.heads[0]
        if whole:
            fits["patch_values"] = cells
            fits["temporal"] = "blocks.0.attn_temp.qkv.weight" in self.state
        return fits


def _blocks(names: Iterable[str], begin: str) -> int:
    """How many blocks there are, by the number of the last."""
    numbers = [name.removeprefix(begin).split(".")[0] for name in names if name.startswith(begin)]
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(path, f"is not a safetensors file ({error})", "fetch it again") from None


def _pickle(path: Path) -> dict[str, Any]:
    allowed = [(TheirSettings, f"config.{name}") for name in STAND_INS]
    try:
        with safe_globals(allowed):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        try:
            found = get_unsafe_globals_in_checkpoint(path)
        except Exception:  # whatever a broken pickle raises
            found = []
        refused = sorted(set(found) - {name for _, name in allowed})
        what = f"holds objects that could run code ({', '.join(refused[:3])})" if refused else ""
        raise UserError(
            path,
            what or "is not a checkpoint that can be read without running its code",
            "where you trust the file, write what it holds under 'model' with "
            "safetensors.torch.save_file, and name that",
        ) from None
    except (OSError, RuntimeError, EOFError) as error:
        raise UserError(path, f"is not a checkpoint of torch ({error})", "fetch it again") from None
    if not isinstance(held, dict):
        raise UserError(path, "holds no weights by name", "correct encoder.weights")
    return held


def _heads(path: Path, config: object) -> tuple[int | None, int | None]:
    """Attention heads, by the settings in the file or the config.json beside it."""
    beside = path.parent / "config.json"
    if isinstance(config, TheirSettings):
        values = vars(config)
    elif isinstance(config, Mapping):
        values = dict(config)
    else:
        values = read_json(beside) if beside.is_file() else {}
    return values.get("num_heads"), values.get("decoder_num_heads")
