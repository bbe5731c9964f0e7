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


def matching_score(
    errors: Array,
    features_a: Features,
    features_b: Features,
    H_b_a: Array,
    max_error_px: float = 3.0,
) -> float:
    """Return the correct matches over the keypoints in the shared part, averaged over both images.

    Args:
        errors: (M,) of the matches, pixels.
        features_a: Of image a.
        features_b: Of image b.
        H_b_a: (3, 3).
        max_error_px: A match is correct up to this.
    """
    correct = int((errors <= max_error_px).sum())
    mapped_a = warp_points(H_b_a, features_a.keypoints)
    mapped_b = warp_points(np.linalg.inv(H_b_a), features_b.keypoints)
    shared_a = int(is_visible(mapped_a, features_b.image_size_hw).sum())
    shared_b = int(is_visible(mapped_b, features_a.image_size_hw).sum())
    return 0.5 * (correct / max(shared_a, 1) + correct / max(shared_b, 1))


def nearest_neighbour_ap(
    features_a: Features, features_b: Features, H_b_a: Array, max_error_px: float = 3.0
) -> float:
    """Return the average precision of one-way nearest neighbours ranked by similarity.

    Recall is over the keypoints of a that have any keypoint of b at the right place.
    """
    if not len(features_a) or not len(features_b):
        return 0.0
    similarity = features_a.descriptors @ features_b.descriptors.T
    nearest = similarity.argmax(1)
    mapped = warp_points(H_b_a, features_a.keypoints)
    distances = np.linalg.norm(mapped[:, None] - features_b.keypoints[None], axis=2)
    is_right = np.nan_to_num(distances, nan=np.inf) <= max_error_px
    rows = np.arange(len(features_a))
    return average_precision(
        similarity[rows, nearest], is_right[rows, nearest], int(is_right.any(1).sum())
    )
