# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.network.cells import cell_centres

SIZE_HW = (48, 80)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_ramp_returns_the_place_it_is_sampled_at(interpolation: str) -> None:
    # Channels (x, y, 100): after normalisation x = 100 * d0 / d2. Interior for bicubic, which
    # needs two cells to either side; up to the outermost cell centres for bilinear.
    centres = cell_centres(SIZE_HW).movedim(-1, 0)
    dense = torch.cat([centres, torch.full((1, 6, 10), 100.0)]).unsqueeze(0)
    reach = 3.5 if interpolation == "bilinear" else 11.5
    low = torch.tensor([reach, reach])
    high = torch.tensor([SIZE_HW[1] - 1 - reach, SIZE_HW[0] - 1 - reach])
    share = torch.rand(1, 50, 2, generator=torch.Generator().manual_seed(0))
    share[0, :2] = torch.tensor([[0.0, 0.0], [1.0, 1.0]])  # both extremes
    keypoints = low + share * (high - low)
    sampled = sample_descriptors(dense, keypoints, SIZE_HW, interpolation)
    recovered = 100.0 * sampled[..., :2] / sampled[..., 2:]
    # PyTorch's bicubic kernel (a = -0.75) bends a straight line by up to 0.4 pixel between cells;
    # half a pixel of offset in the convention would still show.
    atol = 2e-3 if interpolation == "bilinear" else 0.45
    torch.testing.assert_close(recovered, keypoints, atol=atol, rtol=0.0)
    assert (recovered - keypoints).mean(dim=(0, 1)).abs().max() < 0.1


def test_cell_centre_returns_the_cell() -> None:
    dense = functional.normalize(
        torch.randn(2, 16, 6, 10, generator=torch.Generator().manual_seed(0)), dim=1
    )
    keypoints = cell_centres(SIZE_HW).reshape(1, -1, 2).repeat(2, 1, 1)
    for interpolation in ("bilinear", "bicubic"):
        sampled = sample_descriptors(dense, keypoints, SIZE_HW, interpolation)
        torch.testing.assert_close(sampled, dense.flatten(2).transpose(1, 2), atol=1e-4, rtol=0)


def test_only_bicubic_looks_two_cells_away() -> None:
    dense = torch.zeros(1, 2, 6, 10)
    dense[:, 1], dense[:, 0, 2, 5] = 1.0, 1.0  # cell (5, 2) differs from all others
    away = torch.tensor([[[8 * 5 + 3.5 + 12.0, 8 * 2 + 3.5], [8 * 5 + 3.5, 8 * 2 + 3.5 - 12.0]]])
    bilinear, bicubic = (
        sample_descriptors(dense, away, SIZE_HW, name)[0, :, 0] for name in ("bilinear", "bicubic")
    )
    torch.testing.assert_close(bilinear, torch.zeros(2))
    assert (bicubic < -0.05).all()  # its kernel is negative there


def test_border_pixels_hold_the_outermost_value_at_unit_length() -> None:
    dense = functional.normalize(
        torch.randn(1, 16, 6, 10, generator=torch.Generator().manual_seed(0)), dim=1
    )
    corners = torch.tensor([[[0.0, 0.0], [79.0, 47.0]]])
    sampled = sample_descriptors(dense, corners, SIZE_HW)
    torch.testing.assert_close(sampled[0, 0], dense[0, :, 0, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(sampled[0, 1], dense[0, :, -1, -1], atol=1e-5, rtol=0)


def test_unit_length_and_none() -> None:
    dense = functional.normalize(torch.randn(1, 16, 6, 10), dim=1).half()
    sampled = sample_descriptors(dense, torch.rand(1, 30, 2) * 40, SIZE_HW)
    assert sampled.dtype == torch.float32
    torch.testing.assert_close(sampled.norm(dim=-1), torch.ones(1, 30))
    assert sample_descriptors(dense, torch.zeros(1, 0, 2), SIZE_HW).shape == (1, 0, 16)
