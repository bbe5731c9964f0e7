# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good descriptors are: matching accuracy, matching score, nearest-neighbour mAP."""

from __future__ import annotations

import numpy as np

from superpoint_ros.data import Array, Features
from superpoint_ros.evaluation.detector import average_precision, is_visible
from superpoint_ros.geometry.homography import warp_points


def match_errors(
    matches: Array, features_a: Features, features_b: Features, H_b_a: Array
) -> Array:
    """Return the distance of every match from the truth, pixels of b; infinite beyond the horizon.

    Args:
        matches: (M, 2) indices.
        features_a: Of image a.
        features_b: Of image b.
        H_b_a: (3, 3) pixels of a to pixels of b.

    Returns:
        (M,) float64.
    """
    mapped = warp_points(H_b_a, features_a.keypoints[matches[:, 0]])
    errors = np.linalg.norm(mapped - features_b.keypoints[matches[:, 1]], axis=1)
    return np.asarray(np.nan_to_num(errors, nan=np.inf))


def is_seen_by_other(features: Features, other_size_hw: tuple[int, int], H: Array) -> Array:
    """Return (N,) bool: which keypoints, mapped by H (3, 3), lie in the other image."""
    return is_visible(warp_points(H, features.keypoints), other_size_hw)


def matching_score(
    num_correct: tuple[int, int], features_a: Features, features_b: Features, H_b_a: Array
) -> float:
    """Return the correct matches over the keypoints in the shared part, averaged over both images.

    Args:
        num_correct: Correct matches from a to b and from b to a; mutual matches are the same.
        features_a: Of image a.
        features_b: Of image b.
        H_b_a: (3, 3).
    """
    shared_a = is_seen_by_other(features_a, features_b.image_size_hw, H_b_a).sum()
    H_a_b = np.linalg.inv(H_b_a)
    shared_b = is_seen_by_other(features_b, features_a.image_size_hw, H_a_b).sum()
    return 0.5 * float(num_correct[0] / max(shared_a, 1) + num_correct[1] / max(shared_b, 1))


def nearest_neighbour_ap(
    features_a: Features,
    features_b: Features,
    H_b_a: Array,
    max_error_px: float = 3.0,
    is_symmetric: bool = False,
) -> float:
    """Return the average precision of one-way nearest neighbours ranked by similarity.

    Recall is over the keypoints of a that have any keypoint of b at the right place.

    Args:
        features_a: Of image a.
        features_b: Of image b.
        H_b_a: (3, 3).
        max_error_px: A neighbour is right up to this distance, pixels of b.
        is_symmetric: Average with the same from b to a.
    """
    if not len(features_a) or not len(features_b):
        return 0.0
    similarity = features_a.descriptors @ features_b.descriptors.T
    mapped = warp_points(H_b_a, features_a.keypoints)
    distances = np.linalg.norm(mapped[:, None] - features_b.keypoints[None], axis=2)
    is_right = np.nan_to_num(distances, nan=np.inf) <= max_error_px
    precision = _one_way_ap(similarity, is_right)
    if is_symmetric:
        precision = 0.5 * (precision + _one_way_ap(similarity.T, is_right.T))
    return precision


def _one_way_ap(similarity: Array, is_right: Array) -> float:
    rows, nearest = np.arange(len(similarity)), similarity.argmax(1)
    return average_precision(
        similarity[rows, nearest], is_right[rows, nearest], int(is_right.any(1).sum())
    )
