"""Head motion that was planted is found again."""

import numpy as np
import pytest
from preprocess_data import AFFINE, SHAPE, head, noise

from llm4brain.preprocess import motion

CENTRE = np.array([0.0, -18.0, 12.0])
PLANTED = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0.5, 0, 0, 0, 0, 0],
        [0, -0.3, 0.4, 0.004, 0, 0],
        [0.2, 0.1, -0.6, 0, 0.01, -0.006],
        [4.0, -3.0, 2.0, 0.03, -0.05, 0.04],
    ]
)


def scan(planted):
    return np.stack([head(moved=motion.matrix(p, CENTRE)) for p in planted], axis=-1)


def test_matrix_and_parameters_are_each_others_inverse():
    for row in PLANTED:
        np.testing.assert_allclose(
            motion.parameters(motion.matrix(row, CENTRE), CENTRE), row, atol=1e-12
        )


def test_planted_motion_is_recovered():
    found = motion.estimate(scan(PLANTED), head(), AFFINE, CENTRE)
    # mm; rotations at 50 mm. 12 mm voxels, up to 5 mm and 4 degrees
    error = np.abs(found - PLANTED) * [1, 1, 1, 50, 50, 50]
    assert error[:4].max() < 0.08
    assert error[4].max() < 0.2


def test_noise_and_brightness_are_not_taken_for_motion():
    rng = np.random.default_rng(0)
    still = head()[..., None] * np.linspace(0.97, 1.03, 20) + 3 * noise((*SHAPE, 20), rng)
    found = motion.estimate(still, head(), AFFINE, CENTRE)
    assert np.abs(found * [1, 1, 1, 50, 50, 50]).max() < 0.25


def test_framewise_displacement_is_powers_sum():
    moved = np.zeros((3, 6))
    moved[1] = [0.1, -0.2, 0, 0.01, 0, 0]
    found = motion.displacement(moved)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([0.8, 0.8])
