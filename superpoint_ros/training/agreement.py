# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a detector finds in two views of a photo, as targets for training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.features.keypoints import (
    KeypointConfig,
    extract_keypoints,
    refine_keypoints,
)
from superpoint_ros.training.detections import mutual_neighbours
from superpoint_ros.training.homographies import warp_points_batch

_PAIR_PX = 3.0  # farther apart, two keypoints are not the same
_BORDER_PX = KeypointConfig.border_px
_RADIUS = KeypointConfig.refinement_radius  # of the window whose probability a keypoint has
# Fainter keypoints than at run time: what both views find counts, however faint.
_FAINT = KeypointConfig(detection_threshold=0.001, max_keypoints=300, refinement_radius=0)


def agreed_mass(
    heatmaps: tuple[Tensor, Tensor],
    finest: tuple[Tensor, Tensor],
    H_b_a: Tensor,
    power: float = 0.7,
    sigma_px: float = 1.5,
    alone: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """Lay what both views find, where both put it, on the pixels of either view.

    Keypoints of the views that are each other's nearest within 3 pixels (of the view that tells
    them less far apart) count by the geometric mean of their masses, less the farther apart they
    are, and lie halfway. What only one view finds counts little, unless the other cannot show it.

    Args:
        heatmaps: (B, H, W) float32 probabilities of views a and b; keypoints are found there.
        finest: The same at full size only: where probability in both is high, keypoints lie.
        H_b_a: (B, 3, 3) pixels of a to pixels of b.
        power: Of a keypoint's probability; below 1, faint ones count more.
        sigma_px: Of the Gaussian by which agreement fades with the distance.
        alone: What a keypoint counts that the other view does not find.

    Returns:
        (B, H, W) mass in a and in b, as in `detector_targets`.
    """
    size_hw = (heatmaps[0].shape[1], heatmaps[0].shape[2])
    homographies = (H_b_a, torch.linalg.inv(H_b_a))
    a, b = (
        _find(heatmap, fine, H_other_this, power)
        for heatmap, fine, H_other_this in zip(heatmaps, finest, homographies, strict=True)
    )
    distance = torch.minimum(torch.cdist(a.points, b.there), torch.cdist(a.there, b.points))
    is_shown = a.is_shown[:, :, None] & b.is_shown[:, None]
    distance = distance.masked_fill(~is_shown, float("inf"))
    pairs_a = mutual_neighbours(distance, _PAIR_PX)
    pairs_b = mutual_neighbours(distance.transpose(1, 2), _PAIR_PX)

    def lay(
        own: _Found, other: _Found, pairs: tuple[Tensor, Tensor, Tensor], is_paired: Tensor
    ) -> Tensor:
        apart, nearest, is_pair = pairs
        fade = torch.exp(-apart.clamp(max=9.0).square() / (2.0 * sigma_px**2))
        both = (own.mass * other.mass.gather(1, nearest)).sqrt() * fade
        unpaired = torch.where(own.is_shown, alone * own.mass, own.mass)
        partner = other.there.gather(1, nearest[..., None].expand(-1, -1, 2))
        halfway = torch.where(is_pair[..., None], (own.points + partner) / 2.0, own.points)
        only_there = alone * other.mass * (other.is_shown & ~is_paired)
        there = torch.where(other.is_shown[..., None], other.there, 0.0)
        return lay_mass(torch.where(is_pair, both, unpaired), halfway, size_hw) + lay_mass(
            only_there, there, size_hw
        )

    return lay(a, b, pairs_a, pairs_b[2]), lay(b, a, pairs_b, pairs_a[2])


def lay_mass(mass: Tensor, points: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Share the mass of points (B, N), (B, N, 2) among the four pixels around each; (B, H, W)."""
    height, width = size_hw
    x, y = points.unbind(-1)
    laid = mass.new_zeros(len(mass), height * width)
    for left, top in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = x.floor() + left, y.floor() + top
        share = mass * (1.0 - (column - x).abs()) * (1.0 - (row - y).abs())
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        laid.scatter_add_(1, index.long(), share * inside)
    return laid.view(-1, height, width)


class _Found(NamedTuple):
    """Keypoints of a view.

    Attributes:
        points: (B, K, 2) pixels.
        mass: (B, K), 0 for fillers.
        there: (B, K, 2) pixels of the other view.
        is_shown: (B, K) bool, whether the other view could have found them.
    """

    points: Tensor
    mass: Tensor
    there: Tensor
    is_shown: Tensor


def _find(heatmap: Tensor, finest: Tensor, H_other_this: Tensor, power: float) -> _Found:
    size_hw = (heatmap.shape[1], heatmap.shape[2])
    pixels, scores = extract_keypoints(heatmap, size_hw, _FAINT)
    mass = _window_mass(heatmap, pixels) ** power * (scores > 0)
    points = refine_keypoints(heatmap * finest, pixels, _RADIUS)
    there = warp_points_batch(H_other_this, points)
    return _Found(points, mass, there, _is_inside(there, size_hw) & (mass > 0))


def _window_mass(heatmap: Tensor, pixels: Tensor) -> Tensor:
    """Return the probability (B, K) in the square windows around pixels (B, K, 2), at most 1."""
    size = 2 * _RADIUS + 1
    sums = functional.avg_pool2d(heatmap.unsqueeze(1), size, 1, _RADIUS).flatten(1) * size**2
    index = pixels.long()
    return sums.gather(1, index[..., 1] * heatmap.shape[2] + index[..., 0]).clamp(0.0, 1.0)


def _is_inside(points: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Whether points (B, N, 2) lie where a view of this size has keypoints."""
    x, y = points.unbind(-1)
    right, bottom = size_hw[1] - _BORDER_PX, size_hw[0] - _BORDER_PX
    return (x >= _BORDER_PX) & (x < right) & (y >= _BORDER_PX) & (y < bottom)
