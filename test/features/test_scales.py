# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.features.scales import mean_descriptors, mean_heatmap, shrink_images
from superpoint_ros.network.cells import cell_centres


@pytest.mark.parametrize(
    ("size_hw", "scale", "expected_hw"),
    [
        ((480, 640), 1.0, (480, 640)),
        ((480, 640), 0.5, (240, 320)),
        ((376, 1248), 0.5, (192, 624)),  # 23.5 cells, to the even number
        ((480, 640), 0.7, (336, 448)),
        ((8, 16), 0.1, (8, 8)),
    ],
)
def test_views_are_whole_cells(
    size_hw: tuple[int, int], scale: float, expected_hw: tuple[int, int]
) -> None:
    images = np.full((2, *size_hw), 7, np.uint8)
    shrunk = shrink_images(images, scale)
    assert shrunk.shape == (2, *expected_hw)
    assert shrunk.dtype == np.uint8
    assert (shrunk == 7).all()


def test_a_smaller_view_averages_what_it_no_longer_resolves() -> None:
    stripes = np.zeros((1, 32, 48), np.uint8)
    stripes[:, :, ::2] = 200
    np.testing.assert_array_equal(shrink_images(stripes, 0.5), np.full((1, 16, 24), 100))


def test_views_are_read_with_the_interpolation_asked_for() -> None:
    dense = torch.randn(1, 16, 6, 10, generator=torch.Generator().manual_seed(0))
    keypoints = torch.tensor([[[21.0, 17.5], [44.2, 30.0]]])
    for name in ("bilinear", "bicubic"):
        alone = sample_descriptors(dense, keypoints, (48, 80), name)
        twice = mean_descriptors([dense, dense], [1.0, 0.5], keypoints, (48, 80), name)
        torch.testing.assert_close(twice, alone)


def test_one_view_is_itself() -> None:
    heatmap = torch.rand(2, 16, 24)
    torch.testing.assert_close(mean_heatmap([heatmap], [1.0], (16, 24)), heatmap, atol=0, rtol=0)


def test_heatmaps_of_a_non_square_image_lie_on_one_another() -> None:
    """A ramp of x or y, in pixels of the full image, is the same ramp in every view."""
    height, width = 48, 80

    def ramp(rows: int, columns: int) -> torch.Tensor:
        x = (torch.arange(columns) + 0.5) * width / columns - 0.5
        y = (torch.arange(rows) + 0.5) * height / rows - 0.5
        return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])

    views = [ramp(48, 80), ramp(24, 40), ramp(16, 32)]
    scales = [1.0, 0.5, 0.35]
    merged = mean_heatmap(views, scales, (height, width))
    merged *= sum(1.0 / scale for scale in scales) / sum(scales)
    inside = (slice(None), slice(2, -2), slice(2, -2))  # half a pixel of the smallest view
    torch.testing.assert_close(merged[inside], views[0][inside], atol=1e-4, rtol=0)


def test_a_small_view_spreads_its_probability_and_counts_more() -> None:
    views = [torch.full((1, 16, 16), 0.3), torch.full((1, 8, 8), 0.8)]
    merged = mean_heatmap(views, [1.0, 0.5], (16, 16))
    expected = (1.0 * 0.3 + 2.0 * 0.8 / 4.0) / 3.0
    torch.testing.assert_close(merged, torch.full((1, 16, 16), expected))


def test_the_weight_of_a_descriptor_is_its_scale() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    maps = [a.view(1, 2, 1, 1).expand(1, 2, 2, 2), b.view(1, 2, 1, 1)]
    sampled = mean_descriptors(maps, [1.0, 0.5], torch.zeros(1, 3, 2), (16, 16))
    expected = functional.normalize(torch.tensor([1.0, 0.5]), dim=0)
    torch.testing.assert_close(sampled, expected.expand(1, 3, 2))


def test_descriptors_are_read_at_the_same_place_in_every_view() -> None:
    size_hw = (48, 80)

    def place(rows: int, columns: int) -> torch.Tensor:
        """Channels (x, y, 100) in pixels of the full image, at the centre of every cell."""
        centres = cell_centres((8 * rows, 8 * columns)).movedim(-1, 0)
        to_full = torch.tensor([80 / (8 * columns), 48 / (8 * rows)]).view(2, 1, 1)
        centres = (centres + 0.5) * to_full - 0.5
        return torch.cat([centres, torch.full((1, rows, columns), 100.0)]).unsqueeze(0)

    maps = [place(6, 10), place(3, 5), place(2, 4)]
    low, high = torch.tensor([11.5, 11.5]), torch.tensor([68.0, 35.0])  # between cell centres
    share = torch.rand(1, 40, 2, generator=torch.Generator().manual_seed(0))
    keypoints = low + share * (high - low)
    sampled = mean_descriptors(maps, [1.0, 0.5, 0.35], keypoints, size_hw)
    torch.testing.assert_close(
        100.0 * sampled[..., :2] / sampled[..., 2:], keypoints, atol=2e-3, rtol=0
    )
    torch.testing.assert_close(sampled.norm(dim=2), torch.ones(1, 40))


def test_no_keypoints() -> None:
    maps = [torch.rand(2, 16, 4, 4), torch.rand(2, 16, 2, 2)]
    assert mean_descriptors(maps, [1.0, 0.5], torch.zeros(2, 0, 2), (32, 32)).shape == (2, 0, 16)
