"""Checkpoints of MinD-Vis and MinD-Video: our encoder is theirs, to 1e-5, by plain numpy.

Their weights can't be had here: what is written has the layout of their code, small and random."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.special import erf

from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.positions import runs
from llm4brain.brain.weights import Published
from llm4brain.errors import UserError
from llm4brain.sections import EncoderSettings

WIDTH, DEPTH, HEADS, CELLS, DECODER, VOXELS = 32, 3, 4, 8, 64, 60
SIZES = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "patch_values": CELLS}
SIZES |= {"decoder_embed_dim": DECODER, "decoder_depth": 2}
SETTINGS = EncoderSettings(tokenizer="patch1d", **SIZES)
PATCHES = 8  # 60 voxels and 4 that repeat the first
AFFINE = np.eye(4)
LINE = np.stack([np.arange(VOXELS)] * 3, axis=1)


# -- their encoder, restated


def norm(x, state, name):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attention(x, state, name, heads):
    """One sample, (tokens, width), head by head."""
    q, k, v = np.split(linear(x, state, f"{name}.qkv"), 3, axis=1)
    size = x.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        out.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
    return linear(np.concatenate(out, axis=1), state, f"{name}.proj")


def mlp(x, state, name):
    h = linear(x, state, f"{name}.fc1")
    return linear(0.5 * h * (1 + erf(h / np.sqrt(2))), state, f"{name}.fc2")


def block(x, state, name, heads):
    x = x + attention(norm(x, state, f"{name}.norm1"), state, f"{name}.attn", heads)
    return x + mlp(norm(x, state, f"{name}.norm2"), state, f"{name}.mlp")


def padded(x):
    """np.pad(..., "wrap") to a multiple of the patch, one whole patch where it is one already."""
    return np.pad(x, (0, CELLS - len(x) % CELLS), "wrap")


def embedded(x, state):
    """(voxels,) -> (patches, width) by the convolution whose stride is its kernel."""
    kernel = state["patch_embed.proj.weight"][:, 0]
    pieces = padded(x).reshape(-1, CELLS)
    return pieces @ kernel.T + state["patch_embed.proj.bias"] + state["pos_embed"][0, 1:]


def encoded(x, state, visible=None):
    """forward_encoder of fmri_encoder (all patches), or of MAEforFMRI (the visible, with cls)."""
    h = embedded(x, state)
    if visible is not None:
        first = state["cls_token"][0] + state["pos_embed"][0, :1]
        h = np.concatenate([first, h[visible]])
    for k in range(DEPTH):
        h = block(h, state, f"blocks.{k}", HEADS)
    return norm(h, state, "norm")


def decoded(latent, state, visible, heads):
    """forward_decoder of MAEforFMRI: -> (patches, cells)."""
    known = linear(latent, state, "decoder_embed")
    h = np.repeat(state["mask_token"][0], PATCHES, axis=0)
    h[visible] = known[1:]
    h = np.concatenate([known[:1], h]) + state["decoder_pos_embed"][0]
    for k in range(2):
        h = block(h, state, f"decoder_blocks.{k}", heads)
    return linear(norm(h, state, "decoder_norm"), state, "decoder_pred")[1:]


def encoded_video(window, state):
    """forward_encoder of MinD-Video's fMRIEncoder up to its head: (frames, voxels) -> tokens."""
    h = np.stack([embedded(x, state) for x in window])  # (frames, patches, width)
    for k in range(DEPTH):
        name = f"blocks.{k}"
        h = np.stack(
            [
                x + attention(norm(x, state, f"{name}.norm1"), state, f"{name}.attn", HEADS)
                for x in h
            ]
        )
        over_time = [
            h[:, n]
            + attention(
                norm(h[:, n], state, f"{name}.norm_temp"), state, f"{name}.attn_temp", HEADS
            )
            for n in range(h.shape[1])
        ]
        h = np.stack(over_time, axis=1)
        h = np.stack([x + mlp(norm(x, state, f"{name}.norm2"), state, f"{name}.mlp") for x in h])
    return norm(h, state, "norm").reshape(-1, WIDTH)


# -- their files


def sincos(width, count):
    rate = 1.0 / 10000 ** (np.arange(width // 2, dtype=float) / (width / 2.0))
    phase = np.einsum("m,d->md", np.arange(count, dtype=np.float32), rate)
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=1)


def their_state(rng, patches=PATCHES, temporal=False, decoder=True):
    """A state dict by the names and shapes of sc_mbm/mae_for_fmri.py, resp. fmri_encoder.py."""

    def layer(name, *shape):
        state[f"{name}.weight"] = 0.3 * rng.normal(size=shape)
        state[f"{name}.bias"] = 0.1 * rng.normal(size=shape[0])

    def one(name, width):
        for part in ("norm1", "norm2", *(["norm_temp"] if temporal else [])):
            layer(f"{name}.{part}", width)
        for part in ("attn", *(["attn_temp"] if temporal else [])):
            layer(f"{name}.{part}.qkv", 3 * width, width)
            layer(f"{name}.{part}.proj", width, width)
        layer(f"{name}.mlp.fc1", width, width)
        layer(f"{name}.mlp.fc2", width, width)

    state = {"cls_token": rng.normal(size=(1, 1, WIDTH))}
    state["mask_token"] = rng.normal(size=(1, 1, DECODER if decoder else WIDTH))
    for name, width in (("pos_embed", WIDTH), *([("decoder_pos_embed", DECODER)] * decoder)):
        state[name] = np.concatenate([np.zeros((1, width)), sincos(width, patches)])[None]
    layer("patch_embed.proj", WIDTH, 1, CELLS)
    layer("norm", WIDTH)
    for k in range(DEPTH):
        one(f"blocks.{k}", WIDTH)
    if temporal:
        layer("proj_head.projection", 12, WIDTH)
    if decoder:
        layer("decoder_embed", DECODER, WIDTH)
        for k in range(2):
            one(f"decoder_blocks.{k}", DECODER)
        layer("decoder_norm", DECODER)
        layer("decoder_pred", CELLS, DECODER)
    return {k: v.astype(np.float32) for k, v in state.items()}


def tensors(state):
    return {k: torch.tensor(v) for k, v in state.items()}


@pytest.fixture
def their_settings(monkeypatch):
    """`config.Config_MBM_fMRI`, as their training pickles it: gone when the file is read."""

    class Config_MBM_fMRI:
        pass

    Config_MBM_fMRI.__module__, Config_MBM_fMRI.__qualname__ = "config", "Config_MBM_fMRI"
    module = types.ModuleType("config")
    module.Config_MBM_fMRI = Config_MBM_fMRI

    def written(path, state, **values):
        config = Config_MBM_fMRI()
        vars(config).update({"num_heads": HEADS, "decoder_num_heads": 2, "lr": 2.5e-4} | values)
        held = {"model": tensors(state), "epoch": 3, "scaler": {"scale": 1.0}, "config": config}
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "config", module)
            torch.save(held, path)
        assert "config" not in sys.modules
        return path

    return written


@pytest.fixture
def state():
    return their_state(np.random.default_rng(0))


def ours(path, settings=SETTINGS, volumes=1):
    torch.manual_seed(0)
    model = new_encoder(settings, LINE, AFFINE, None, volumes)
    weights = Published.read(f"path:{path}")
    weights.into(model)
    return model.eval(), weights


@pytest.fixture
def windows():
    """Of two volumes; MinD-Vis reads one, the mean."""
    return np.random.default_rng(1).normal(size=(3, 2, VOXELS)).astype(np.float32)


def mean(windows):
    return torch.tensor(windows.mean(axis=1, keepdims=True))


def double(state):
    return {k: v.astype(float) for k, v in state.items()}


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5, rtol=1e-5)


def test_the_encoder_is_theirs_unmasked(tmp_path, state, their_settings, windows):
    model, _ = ours(their_settings(tmp_path / "checkpoint.pth", state))
    theirs = double(state)
    close(
        model.tokens(mean(windows)),
        np.stack([encoded(w.mean(0), theirs) for w in windows.astype(float)]),
    )


def test_the_encoder_and_its_decoder_are_theirs_masked(tmp_path, state, their_settings, windows):
    model, weights = ours(their_settings(tmp_path / "checkpoint.pth", state))
    assert weights.about["taken"] == "encoder and decoder"
    patches = model.tokenizer.patches(mean(windows))
    visible = model.draw_masks(3, torch.Generator().manual_seed(0))
    assert visible.shape == (3, 6)  # int(8 * 0.75)
    found = model.encode_visible(patches, visible)
    theirs = double(state)
    latent = [
        encoded(w.mean(0), theirs, rows.numpy())
        for w, rows in zip(windows.astype(float), visible, strict=True)
    ]
    close(model.norm(found), np.stack(latent))
    expected = [
        decoded(h, theirs, rows.numpy(), 2) for h, rows in zip(latent, visible, strict=True)
    ]
    assert not model.share  # it predicts x, and ours what the linear path leaves of x
    assert not model.learns
    with torch.no_grad():
        model.share.fill_(1.0)
    close(model.predict(found, visible), np.stack(expected))


def test_the_loss_counts_every_voxel_once(tmp_path, state, their_settings, windows):
    """What repeats the first patch is no target; the network sees all windows at one size."""
    model, _ = ours(their_settings(tmp_path / "checkpoint.pth", state))
    with torch.no_grad():
        model.share.fill_(1.0)
    visible = model.draw_masks(3, torch.Generator().manual_seed(0))
    theirs, total, count = double(state), 0.0, 0
    for window, rows in zip(windows.astype(float), visible.numpy(), strict=True):
        x, seen = window.mean(0), np.zeros(PATCHES, bool)
        seen[rows] = True
        size = np.sqrt(np.square(padded(x).reshape(-1, CELLS)[seen]).mean())
        predicted = size * decoded(encoded(x / size, theirs, rows), theirs, rows, 2)
        counted = ~seen[:, None] & (np.arange(PATCHES * CELLS) < VOXELS).reshape(-1, CELLS)
        error = (predicted - padded(x).reshape(-1, CELLS))[counted]
        total, count = total + (error**2).sum(), count + counted.sum()
    found = model(mean(windows), visible).loss.detach()
    assert float(found) == pytest.approx(total / count, rel=1e-4)


def test_mind_video_s_attention_between_volumes(tmp_path, windows):
    state = their_state(np.random.default_rng(2), temporal=True, decoder=False)
    torch.save(tensors(state), tmp_path / "diffusion_pytorch_model.bin")
    (tmp_path / "config.json").write_text(f'{{"num_heads": {HEADS}}}')
    settings = SETTINGS.model_copy(update={"temporal": True})
    model, weights = ours(tmp_path / "diffusion_pytorch_model.bin", settings, 2)
    assert weights.about["taken"] == "encoder"
    close(
        model.tokens(torch.tensor(windows)),
        np.stack([encoded_video(w, double(state)) for w in windows.astype(float)]),
    )
    visible = model.draw_masks(3)
    assert torch.equal(visible[:, :6] + PATCHES, visible[:, 6:])  # a patch hides in all volumes
    loss = model.train()(torch.tensor(windows), visible).loss
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_blocks_alone_behind_the_3d_cnn(tmp_path, state, windows):
    save_file(tensors(state), tmp_path / "mind-vis.safetensors")
    settings = EncoderSettings(patch_size=2, **SIZES)
    voxels = np.argwhere(np.ones((5, 4, 3)))
    torch.manual_seed(0)
    model = new_encoder(settings, voxels, np.diag([8.0, 8, 8, 1]), None, 2).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    weights = Published.read(f"path:{tmp_path / 'mind-vis.safetensors'}")
    weights.into(model)
    assert weights.about["taken"] == "3 blocks"
    after = model.state_dict()
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    assert moved == {k for k in after if k.startswith("blocks.")}
    x = torch.tensor(windows)
    patches = model.tokenizer.patches(x)
    every = torch.arange(len(model.pos)).expand(3, -1)
    h = (model.tokenizer.tokens(patches, every) + model.pos).detach().numpy().astype(float)
    for k in range(DEPTH):
        h = np.stack([block(one, double(state), f"blocks.{k}", HEADS) for one in h])
    fresh = {"norm.weight": np.ones(WIDTH), "norm.bias": np.zeros(WIDTH)}
    close(model.tokens(x), norm(h, fresh, "norm"))


def test_positions_of_another_number_of_voxels_are_stretched_as_they_do(tmp_path, capsys):
    state = their_state(np.random.default_rng(0), patches=5)
    save_file(tensors(state), tmp_path / "five.safetensors")
    model, _ = ours(tmp_path / "five.safetensors")
    nearest = [int(n * 5 / PATCHES) for n in range(PATCHES)]
    assert np.array_equal(model.pos.numpy(), state["pos_embed"][0, 1:][nearest])
    assert "stretched to 8" in capsys.readouterr().err


def test_patches_repeat_the_first_voxels_as_theirs_do():
    for voxels in (VOXELS, 64):
        grid = runs(voxels, CELLS)
        wrapped = padded(np.arange(voxels)).reshape(-1, CELLS)
        assert np.array_equal(grid.index, wrapped)
        assert np.array_equal(np.sort(grid.index[grid.inside]), np.arange(voxels))
    np.testing.assert_allclose(grid.codes(WIDTH), sincos(WIDTH, 9), atol=1e-6)


def test_a_checkpoint_of_the_published_size_fits():
    """Shapes of one block of each side; they published 24 and 8, and 16 heads."""
    sizes = {"embed_dim": 1024, "depth": 1, "num_heads": 16}
    sizes |= {"decoder_embed_dim": 512, "decoder_depth": 1}
    settings = EncoderSettings(tokenizer="patch1d", **sizes)
    model = new_encoder(settings, np.zeros((4643, 3), int), AFFINE, None, 1)
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert shapes["tokenizer.proj.weight"] == (1024, 1, 16)
    assert shapes["pos"] == (291, 1024)
    assert shapes["blocks.0.attn.qkv.weight"] == (3072, 1024)
    assert shapes["blocks.0.mlp.fc1.weight"] == (1024, 1024)
    assert shapes["decoder_blocks.0.attn.proj.weight"] == (512, 512)
    assert shapes["decoder_pred.weight"] == (16, 512)
    assert model.decoder_blocks[0].attn.heads == 16


def test_another_size_is_told_with_the_settings_that_fit(tmp_path, state, their_settings):
    path = their_settings(tmp_path / "checkpoint.pth", state)
    small = EncoderSettings(tokenizer="patch1d", embed_dim=48, depth=2, num_heads=2)
    with pytest.raises(UserError, match=r"encoder\.embed_dim: 32, encoder\.depth: 3, .*heads: 4"):
        ours(path, small)
    temporal = their_state(np.random.default_rng(2), temporal=True, decoder=False)
    save_file(tensors(temporal), tmp_path / "video.safetensors")
    with pytest.raises(UserError, match=r"set encoder\.temporal: true"):
        ours(tmp_path / "video.safetensors")
    with pytest.raises(UserError, match=r"encoder\.tokenizer: patch1d"):
        ours(tmp_path / "video.safetensors", EncoderSettings(patch_size=2, **SIZES))


class Trap:
    """What a file could do to a reader that unpickles everything."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_a_file_that_could_run_code_runs_none(tmp_path, state, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": tensors(state), "config": Trap()}, "trap.pth")
    with pytest.raises(UserError, match=r"could run code \(.*open\); where you trust"):
        Published.read("path:trap.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"model": Trap()}, protocol=2))
    with pytest.raises(UserError, match=r"old\.pth"):
        Published.read("path:old.pth")
    assert not (tmp_path / "trapped").exists()


def test_files_that_are_none_of_theirs_are_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        Published.read(f"path:{tmp_path / 'none.pth'}")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.pth"):
        Published.read(f"path:{tmp_path / 'text.pth'}")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds no encoder of MinD-Vis"):
        Published.read(f"path:{tmp_path / 'other.safetensors'}")


def test_an_encoder_saved_by_another_name_is_found(tmp_path, state):
    """As in MinD-Vis's whole model: {"model_state_dict": {"cond_stage_model.mae....": ...}}."""
    named = {f"cond_stage_model.mae.{k}": v for k, v in tensors(state).items()}
    torch.save({"model_state_dict": named | {"unet.weight": torch.ones(2)}}, tmp_path / "all.pth")
    found = Published.read(f"path:{tmp_path / 'all.pth'}")
    assert found.state.keys() == state.keys()
    assert len(found.about["sha256"]) == 64
