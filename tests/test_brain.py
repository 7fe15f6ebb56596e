"""SC-MBM: positions, visible patches alone, masked loss, adaptors."""

import numpy as np
import pytest
import torch

from llm4brain.brain.adaptor import Adaptor, freeze, insert, remove, unchanged
from llm4brain.brain.positions import cut, sincos
from llm4brain.brain.sc_mbm import SCMBM
from llm4brain.brain.tokenizer import Tokenizer3D
from llm4brain.sections import EncoderSettings

SETTINGS = EncoderSettings(patch=2, width=48, blocks=2, heads=4, decoder_width=32, decoder_blocks=1)
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])


@pytest.fixture
def grid():
    shape = (6, 5, 4)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    return cut(voxels[7:], AFFINE, 2)  # a few voxels lie outside the brain


@pytest.fixture
def model(grid):
    torch.manual_seed(0)
    return SCMBM(SETTINGS, grid, volumes=3).eval()


@pytest.fixture
def windows():
    return torch.randn(4, 3, 113, generator=torch.Generator().manual_seed(1))


def test_every_voxel_lies_in_one_cell(grid):
    held = np.sort(grid.index[grid.inside])
    assert np.array_equal(held, np.arange(113))


def test_patches_hold_the_windows_values(model, windows, grid):
    patches = model.tokenizer.patches(windows)
    cells = patches.view(4, len(grid.index), 3, 8).permute(0, 2, 1, 3)
    inside = torch.as_tensor(grid.inside)
    assert torch.equal(cells[:, :, inside].sort(-1).values, windows.sort(-1).values)
    assert not cells[:, :, ~inside].any()


def test_positions_come_from_mni_coordinates_not_from_order():
    centre = np.array([[0.0, -90.0, 0.0], [40.0, -60.0, -10.0]])
    assert np.array_equal(sincos(centre, 48)[::-1], sincos(centre[::-1], 48))
    assert not np.allclose(*sincos(centre, 48))


def test_encoder_sees_the_visible_patches_alone(model, windows):
    patches = model.tokenizer.patches(windows)
    visible = model.draw_masks(4, torch.Generator().manual_seed(0))
    changed = torch.randn_like(patches)
    rows = visible[:, :, None].expand(-1, -1, patches.shape[2])
    changed.scatter_(1, rows, patches.gather(1, rows))
    assert torch.equal(
        model.encode_visible(patches, visible), model.encode_visible(changed, visible)
    )


def test_masked_loss_counts_masked_patches_and_brain_cells_alone(model, windows, grid):
    visible = model.draw_masks(4, torch.Generator().manual_seed(0))
    patches = model.tokenizer.patches(windows)
    predicted = model.predict(model.encode_visible(patches, visible), visible)
    total, count = 0.0, 0
    for b in range(4):
        for p in sorted(set(range(len(grid.index))) - set(visible[b].tolist())):
            cells = np.tile(grid.inside[p], 3)
            error = (predicted[b, p] - patches[b, p])[torch.as_tensor(cells)]
            total, count = total + float((error**2).sum().detach()), count + int(cells.sum())
    assert float(model.masked_loss(windows, visible).detach()) == pytest.approx(
        total / count, rel=1e-5
    )


def test_share_of_masked_patches(model):
    assert model.draw_masks(2).shape[1] == round(len(model.pos) * 0.25)


def test_tokens_hold_the_mean_volume_whole(grid):
    """Sparse coding: the embedding is wider than the patch, so nothing of it is lost."""
    torch.manual_seed(0)
    tokenizer = SCMBM(SETTINGS, grid, volumes=3).tokenizer
    x = torch.randn(5, 3, 8)
    tokens = tokenizer(x.reshape(5, 1, -1))[:, 0]
    code = tokenizer.embed.weight.sum(1).view(48, 8)
    assert torch.allclose(tokens @ code, x.mean(1), atol=1e-5)


def test_adaptors_leave_the_network_unchanged_at_step_0(model, windows):
    freeze(model)
    before = model.tokens(windows)
    adaptors = insert(model.blocks, 48, 8)
    assert torch.equal(model.tokens(windows), before)
    with torch.no_grad():
        adaptors[0].up.weight.normal_()
    assert not torch.equal(model.tokens(windows), before)
    remove(adaptors)
    assert torch.equal(model.tokens(windows), before)


def test_frozen_weights_are_unchanged_bit_for_bit_after_training(model, windows):
    freeze(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    adaptors = insert(model.blocks, 48, 8)
    optimizer = torch.optim.AdamW(adaptors.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(5):
        loss = model.tokens(windows).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert unchanged(before, model.state_dict())
    assert any(a.up.weight.abs().sum() > 0 for a in adaptors)


def test_adaptor_of_a_tuple_layer_keeps_the_rest():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(6, 6)

        def forward(self, x):
            return (self.linear(x), "attention")

    layers = torch.nn.ModuleList([Layer()])
    adaptors = insert(layers, 6, 2)
    assert layers[0](torch.zeros(1, 6))[1] == "attention"
    assert isinstance(adaptors[0], Adaptor)


@pytest.mark.parametrize("edge", [2, 3])
def test_the_cnn_learns_in_bf16_what_it_learns_in_fp32(edge):
    """On CPUs that multiply bf16 a small patch's gradients were garbage, and often not finite."""
    voxels = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3)
    torch.manual_seed(0)
    tokenizer = Tokenizer3D(cut(voxels, AFFINE, edge), volumes=2, width=48)
    torch.nn.init.normal_(tokenizer.out.weight)  # at zero nothing reaches the convolutions
    patches = torch.randn(4, len(tokenizer.index), 2 * edge**3)
    weights = (tokenizer.conv1.weight, tokenizer.conv2.weight)
    exact = torch.autograd.grad(tokenizer(patches).square().mean(), weights)
    with torch.autocast("cpu", torch.bfloat16):
        loss = tokenizer(patches).float().square().mean()
    for found, right in zip(torch.autograd.grad(loss, weights), exact, strict=True):
        assert (found - right).norm() < 0.05 * right.norm()
