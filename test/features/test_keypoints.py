# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.features.keypoints import (
    KeypointConfig,
    extract_keypoints,
    refine_keypoints,
    smooth,
    suppress_non_maxima,
    window_maximum,
)

SIZE_HW = (48, 80)
# Whole pixels, nothing filtered away: each test switches on what it is about.
PLAIN = KeypointConfig(
    detection_threshold=0.1, nms_radius=0, score_sigma_px=0.0, border_px=0, refinement_radius=0
)


def dots(*points: tuple[int, int, float]) -> Tensor:
    """A heatmap that is zero but at (x, y, value)."""
    heatmap = torch.zeros(1, *SIZE_HW)
    for x, y, value in points:
        heatmap[0, y, x] = value
    return heatmap


def found(heatmap: Tensor, config: KeypointConfig, size_hw: tuple[int, int] = SIZE_HW) -> list:
    """(x, y, score) of the keypoints, without the fillers."""
    keypoints, scores = extract_keypoints(heatmap, size_hw, config)
    table = torch.cat([keypoints, scores.unsqueeze(-1)], dim=-1)[0]
    return [tuple(round(v, 5) for v in row) for row in table[scores[0] > 0].tolist()]


def suppress_greedily(heatmap: np.ndarray, radius: int) -> set[tuple[int, int]]:
    """The definition: from the brightest down, skip what is near an accepted one."""
    accepted: list[tuple[int, int]] = []
    for index in np.argsort(-heatmap, axis=None):
        y, x = divmod(int(index), heatmap.shape[1])
        if heatmap[y, x] <= 0:
            break
        if all(max(abs(x - u), abs(y - v)) > radius for u, v in accepted):
            accepted.append((x, y))
    return set(accepted)


def test_xy_and_order() -> None:
    heatmap = dots((70, 5, 0.5), (3, 40, 0.9), (20, 30, 0.2), (20, 31, 0.05))
    assert found(heatmap, PLAIN) == [(3, 40, 0.9), (70, 5, 0.5), (20, 30, 0.2)]


def test_top_k_and_no_limit() -> None:
    heatmap = torch.rand(1, *SIZE_HW, generator=torch.Generator().manual_seed(0)) + 0.2
    config = replace(PLAIN, max_keypoints=7)
    scores = [score for _, _, score in found(heatmap, config)]
    expected = heatmap.flatten().sort(descending=True).values[:7]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    unlimited = replace(PLAIN, max_keypoints=0)
    assert len(found(heatmap, unlimited)) == SIZE_HW[0] * SIZE_HW[1]


def test_threshold_zero_yields_no_fillers() -> None:
    config = replace(PLAIN, detection_threshold=0.0)
    assert found(dots((9, 9, 0.3)), config) == [(9, 9, 0.3)]


def test_border() -> None:
    config = replace(PLAIN, border_px=4)
    width, height = SIZE_HW[1], SIZE_HW[0]
    inside = [(4, 4, 0.4), (width - 5, height - 5, 0.3)]
    outside = [(3, 20, 0.9), (width - 4, 20, 0.8), (40, 3, 0.7), (40, height - 4, 0.6)]
    assert found(dots(*inside, *outside), config) == inside
    assert found(dots((2, 2, 0.5)), config, size_hw=(8, 8)) == []  # nothing but border


def test_the_border_is_that_of_the_image_not_of_its_padding() -> None:
    config = replace(PLAIN, border_px=4)  # of an image of 45 x 75
    heatmap = dots((70, 20, 0.5), (71, 20, 0.9), (30, 40, 0.4), (30, 41, 0.8))
    assert found(heatmap, config, size_hw=(45, 75)) == [(70, 20, 0.5), (30, 40, 0.4)]


def test_padding_neither_wins_nor_suppresses() -> None:
    # The real image is 45 x 75; the strongest responses lie in the padding beside a weak corner.
    config = replace(PLAIN, nms_radius=4, max_keypoints=1, refinement_radius=2)
    heatmap = dots((74, 44, 0.3), (75, 44, 0.9), (74, 45, 0.9), (79, 47, 1.0))
    assert found(heatmap, config, size_hw=(45, 75)) == [(74, 44, 0.3)]


@pytest.mark.parametrize("radius", [1, 2, 4, 7])
def test_window_maximum_is_max_pooling(radius: int) -> None:
    values = torch.rand(2, 13, 29, generator=torch.Generator().manual_seed(radius))
    pooled = functional.max_pool2d(values.unsqueeze(1), 2 * radius + 1, 1, radius).squeeze(1)
    assert torch.equal(window_maximum(values, radius), pooled)


@pytest.mark.parametrize("radius", [1, 3, 4])
def test_suppression_against_the_greedy_pass(radius: int) -> None:
    generator = torch.Generator().manual_seed(radius)
    noise = torch.rand(1, 1, *SIZE_HW, generator=generator)
    heatmap = functional.avg_pool2d(noise, 3, 1, 1)[:, 0]
    survivors = suppress_non_maxima(heatmap, radius)
    assert torch.equal(survivors[survivors > 0], heatmap[survivors > 0])
    points = {(int(x), int(y)) for _, y, x in survivors.nonzero()}
    expected = suppress_greedily(heatmap[0].numpy(), radius)
    # Never more than greedy keeps, and nearly all of it on this worst case, pure noise.
    assert points <= expected
    assert len(points) >= 0.85 * len(expected)


def test_suppression_by_hand() -> None:
    # b lies near the brighter a, c near b only: a suppresses b, and so c survives.
    heatmap = dots((20, 20, 0.9), (24, 20, 0.8), (28, 20, 0.7))
    config = replace(PLAIN, nms_radius=4)
    assert found(heatmap, config) == [(20, 20, 0.9), (28, 20, 0.7)]
    diagonal = dots((20, 20, 0.9), (25, 20, 0.8), (24, 24, 0.7))
    assert found(diagonal, config) == [(20, 20, 0.9), (25, 20, 0.8)]


def test_a_keypoint_between_pixels_ranks_by_all_its_probability() -> None:
    # 0.8 shared by four pixels, two cells meeting in the middle, against 0.4 on one pixel.
    shared = [(23, 11, 0.21), (24, 11, 0.2), (23, 12, 0.2), (24, 12, 0.19)]
    heatmap = dots((60, 30, 0.4), *shared)
    config = replace(PLAIN, detection_threshold=0.01, nms_radius=3, refinement_radius=2)
    assert found(heatmap, config)[0] == (60, 30, 0.4)
    first, second = found(heatmap, replace(config, score_sigma_px=1.0))
    assert first[:2] == pytest.approx((23.5, 11.5), abs=0.03)
    assert second[:2] == (60, 30)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_smoothing_is_a_gaussian_filter(sigma: float) -> None:
    heatmap = torch.rand(2, *SIZE_HW, generator=torch.Generator().manual_seed(0))
    radius = int(np.ceil(3 * sigma))
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum())[None, None]
    expected = functional.conv2d(heatmap[:, None], kernel, padding=radius)[:, 0]
    torch.testing.assert_close(smooth(heatmap, sigma), expected, atol=1e-5, rtol=0.0)
    assert smooth(heatmap, 0.0) is heatmap


def test_refinement_finds_the_centre_of_a_blob() -> None:
    ys, xs = torch.meshgrid(torch.arange(48.0), torch.arange(80.0), indexing="ij")
    centre = torch.tensor([30.3, 17.8])
    blob = torch.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (2 * 0.7**2))
    refined = refine_keypoints(blob.unsqueeze(0), torch.tensor([[[30.0, 18.0]]]), radius=2)
    torch.testing.assert_close(refined[0, 0], centre, atol=0.05, rtol=0.0)


def test_refinement_stays_inside_the_image_and_the_window() -> None:
    heatmap = torch.rand(1, *SIZE_HW, generator=torch.Generator().manual_seed(0)) + 0.2
    config = replace(PLAIN, max_keypoints=0, refinement_radius=2)
    keypoints, _ = extract_keypoints(heatmap, (45, 75), config)
    assert keypoints.min() >= 0
    assert keypoints[..., 0].max() <= 74
    assert keypoints[..., 1].max() <= 44


def test_refinement_of_an_empty_map_moves_nothing() -> None:
    whole = torch.tensor([[[0.0, 0.0], [79.0, 47.0]]])
    assert torch.equal(refine_keypoints(torch.zeros(1, *SIZE_HW), whole, 2), whole)


def test_batch_equals_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, *SIZE_HW, generator=generator) ** 8
    heatmap = noise * torch.tensor([1.0, 0.12, 0.0])[:, None, None]  # many, few, none
    for limit in (0, 20, 1000):
        config = replace(
            PLAIN, nms_radius=3, border_px=4, refinement_radius=2, max_keypoints=limit
        )
        keypoints, scores = extract_keypoints(heatmap, SIZE_HW, config)
        counts = (scores > 0).sum(dim=1).tolist()
        assert counts[0] >= counts[1] > counts[2] == 0
        assert counts[0] > counts[1] or counts[0] == limit
        for i, count in enumerate(counts):
            alone, alone_scores = extract_keypoints(heatmap[i : i + 1], SIZE_HW, config)
            assert int((alone_scores > 0).sum()) == count
            assert torch.equal(alone[0, :count], keypoints[i, :count])
            assert torch.equal(alone_scores[0, :count], scores[i, :count])
