"""Where patches lie, and in which turn each is hidden."""

import numpy as np

from llm4brain.brain.positions import gather


def test_patches_of_grayordinates_are_hidden_once_each():
    mm = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    grid = gather(np.zeros(50, int), mm, 4)
    assert len(grid.turns) == len(grid.index)
    assert set(grid.turns) == set(range(8))
    assert grid.neighbours is None
