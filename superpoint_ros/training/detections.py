# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The detector's own keypoints in two views, found and paired as they will be at run time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from superpoint_ros.features.keypoints import (
    KeypointConfig,
    extract_keypoints,
    refine_keypoints,
)
from superpoint_ros.network.cells import CELL_SIZE, logits_to_heatmap
from superpoint_ros.training.homographies import warp_points_batch


class Detections(NamedTuple):
    """The K best keypoints of two views, and which of them are the same.

    Attributes:
        points_a: (B, K, 2) pixels; gradients flow to the logits.
        points_b: Alike.
        there_of_a: (B, K, 2) where those of a lie in b, pixels.
        there_of_b: And those of b in a.
        is_seen_a: (B, K) bool, keypoints of a that both views show.
        is_seen_b: And of b.
        partner: (B, K) index of b's nearest to each of a.
        is_pair: (B, K) bool, whether they are each other's nearest and near.
    """

    points_a: Tensor
    points_b: Tensor
    there_of_a: Tensor
    there_of_b: Tensor
    is_seen_a: Tensor
    is_seen_b: Tensor
    partner: Tensor
    is_pair: Tensor

    @property
    def partners(self) -> Tensor:
        """(B, K, 2) pixels of b."""
        return self.points_b.gather(1, self.partner[..., None].expand(-1, -1, 2))


def detect_in_both(
    logits: tuple[Tensor, Tensor],
    is_valid: tuple[Tensor, Tensor],
    H_b_a: Tensor,
    max_keypoints: int,
    radius_px: float = 3.0,
) -> Detections:
    """Find the keypoints of two views as they will be found, and pair them.

    Args:
        logits: (B, 65, Hc, Wc) of views a and b, which are of one size.
        is_valid: (B, Hc, Wc) bool each, cells that show the photo.
        H_b_a: (B, 3, 3) pixels of a to pixels of b.
        max_keypoints: K, per view, best first.
        radius_px: Within it, keypoints that are each other's nearest are a pair; pixels of b.
    """
    size_hw = (CELL_SIZE * logits[0].shape[2], CELL_SIZE * logits[0].shape[3])
    config = KeypointConfig(max_keypoints=max_keypoints, refinement_radius=0)
    points, scores = [], []
    for heatmap in map(logits_to_heatmap, logits):
        with torch.no_grad():
            pixels, score = extract_keypoints(heatmap, size_hw, config)
        points.append(refine_keypoints(heatmap, pixels, KeypointConfig.refinement_radius))
        scores.append(score)
    points_a, points_b = points
    there_of_a = warp_points_batch(H_b_a, points_a)
    there_of_b = warp_points_batch(torch.linalg.inv(H_b_a), points_b)
    is_seen_a = (scores[0] > 0) & _is_shown(points_a, is_valid[0])
    is_seen_a &= _is_shown(there_of_a, is_valid[1])
    is_seen_b = (scores[1] > 0) & _is_shown(points_b, is_valid[1])
    is_seen_b &= _is_shown(there_of_b, is_valid[0])
    distance = torch.cdist(there_of_a.detach(), points_b.detach())
    is_hidden = ~(is_seen_a[:, :, None] & is_seen_b[:, None])
    _, partner, is_pair = mutual_neighbours(
        distance.masked_fill(is_hidden, float("inf")), radius_px
    )
    return Detections(
        points_a, points_b, there_of_a, there_of_b, is_seen_a, is_seen_b, partner, is_pair
    )


def detected_correspondences(found: Detections) -> tuple[Tensor, Tensor, Tensor]:
    """Say where the keypoints of two views lie in the other one, as they will be matched.

    Pairs correspond where the detector puts them, off by what it errs; keypoints of either view
    without a counterpart, to where they should be.

    Returns:
        points_a and points_b, (B, 2 K, 2) pixels, and (B, 2 K) bool: which of them both views show
        (the others are at zero).
    """
    of_a = torch.where(found.is_pair[..., None], found.partners, found.there_of_a)
    is_taken = torch.zeros(found.is_seen_b.shape, dtype=torch.long, device=of_a.device)
    is_taken = is_taken.scatter_add(1, found.partner, found.is_pair.long()) > 0
    is_point = torch.cat([found.is_seen_a, found.is_seen_b & ~is_taken], 1)
    both = (
        torch.cat([found.points_a, found.there_of_b], 1),
        torch.cat([of_a, found.points_b], 1),
    )
    a, b = (torch.where(is_point[..., None], points, 0.0) for points in both)
    return a, b, is_point


def mutual_neighbours(distance: Tensor, radius_px: float) -> tuple[Tensor, Tensor, Tensor]:
    """Find each row's nearest column.

    Args:
        distance: (B, N, M), infinite where a pair is out of the question.
        radius_px: Farther apart they are no pair.

    Returns:
        (B, N) distance, (B, N) index of the column, (B, N) bool: they are a pair, each other's
        nearest and near enough.
    """
    nearest, there = distance.min(2)
    itself = torch.arange(distance.shape[1], device=there.device)
    is_pair = (distance.argmin(1).gather(1, there) == itself) & (nearest <= radius_px)
    return nearest, there, is_pair


def _is_shown(points: Tensor, is_valid: Tensor, border_px: float = 3.0) -> Tensor:
    """Whether points (B, N, 2) lie in valid cells (B, Hc, Wc), off the border of the image."""
    rows, columns = is_valid.shape[1:]
    x, y = points.unbind(-1)
    column = ((x + 0.5) / CELL_SIZE).long().clamp(0, columns - 1)
    row = ((y + 0.5) / CELL_SIZE).long().clamp(0, rows - 1)
    is_inside = (x >= border_px) & (x <= CELL_SIZE * columns - 1 - border_px)
    is_inside &= (y >= border_px) & (y <= CELL_SIZE * rows - 1 - border_px)
    return is_inside & is_valid.flatten(1).gather(1, row * columns + column)
