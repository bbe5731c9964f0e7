# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from superpoint_ros.network.cells import (
    cell_centres,
    logits_to_heatmap,
    normalise_pixels,
    pixel_grid,
)

SIZE_HW = (48, 80)


def test_one_hot_logit_becomes_its_pixel() -> None:
    for row, column, channel in ((0, 0, 0), (5, 9, 63), (2, 7, 13), (3, 1, 56)):
        logits = torch.zeros(1, 65, 6, 10)
        logits[0, channel, row, column] = 20.0
        heatmap = logits_to_heatmap(logits)
        assert heatmap.shape == (1, *SIZE_HW)
        y, x = divmod(int(heatmap.argmax()), SIZE_HW[1])
        assert (x, y) == (8 * column + channel % 8, 8 * row + channel // 8)


def test_dustbin_takes_the_cell() -> None:
    logits = torch.zeros(2, 65, 6, 10)
    logits[1, 64] = 20.0
    heatmap = logits_to_heatmap(logits)
    torch.testing.assert_close(heatmap[0], torch.full(SIZE_HW, 1.0 / 65.0))
    assert heatmap[1].max() < 1e-8


def test_heatmap_is_float32_for_half_logits() -> None:
    assert logits_to_heatmap(torch.zeros(1, 65, 1, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_centre_of_a_cell() -> None:
    centres = cell_centres(SIZE_HW)
    assert centres.shape == (6, 10, 2)
    assert centres[5, 9].tolist() == [75.5, 43.5]


def test_a_grid_holds_x_and_y_of_every_pixel() -> None:
    grid = pixel_grid(SIZE_HW)
    assert grid.shape == (48, 80, 2)
    assert grid[5, 9].tolist() == [9.0, 5.0]


def test_normalised_pixels_are_float32_whatever_they_were() -> None:
    pixels = torch.tensor([[79.0, 0.0], [1.0, 47.0]])
    for dtype in (torch.float16, torch.int64):
        normalised = normalise_pixels(pixels.to(dtype), SIZE_HW)
        assert torch.equal(normalised, normalise_pixels(pixels, SIZE_HW))


def test_normalised_corners() -> None:
    # The image covers [-0.5, W - 0.5]: its outer edges are -1 and 1.
    corners = torch.tensor([[-0.5, -0.5], [79.5, 47.5], [39.5, 23.5]])
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(normalise_pixels(corners, SIZE_HW), expected)
