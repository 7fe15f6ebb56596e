"""Checkpoints of MinD-Vis that are not whole: a line that names the weight."""

import numpy as np
import pytest
from test_mindvis import CELLS, DECODER, WIDTH, ours, state, their_settings

from llm4brain.errors import UserError

__all__ = ["state", "their_settings"]  # fixtures


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("blocks.1.attn.qkv.weight", None, "lacks the weights blocks.1.attn.qkv.weight"),
        ("patch_embed.proj.bias", None, "lacks the weights patch_embed.proj.bias"),
        ("pos_embed", None, "lacks the weights pos_embed"),
        ("cls_token", None, "lacks the weights cls_token"),
        ("decoder_blocks.1.mlp.fc1.bias", None, "lacks the weights decoder_blocks.1.mlp.fc1.bias"),
        ("mask_token", None, "lacks the weights mask_token"),
        ("blocks.0.mlp.fc1.bias", None, "has no blocks.0.mlp.fc1.bias"),
        ("patch_embed.proj.weight", np.zeros((WIDTH, CELLS)), "that is not of three axes"),
        ("blocks.1.norm1.bias", np.zeros(7), r"blocks.1.norm1.bias of shape \(7,\), not \(32,\)"),
        ("blocks.1.norm1.bias", np.full(WIDTH, np.nan), "holds NaN .* in blocks.1.norm1.bias"),
        ("decoder_norm.bias", np.full(DECODER, np.inf), "infinite values in decoder_norm.bias"),
        ("blocks.1.extra", np.zeros(3), "holds blocks.1.extra, which no encoder of theirs has"),
    ],
)
@pytest.mark.bad_input(
    "MinD-Vis checkpoint", "`{name}` missing, of another shape, not finite or unknown"
)
def test_weights_that_are_not_whole_are_named(tmp_path, state, their_settings, name, value, said):
    state.pop(name, None)
    state |= {} if value is None else {name: value.astype(np.float32)}
    with pytest.raises(UserError, match=said):
        ours(their_settings(tmp_path / "checkpoint.pth", state))
