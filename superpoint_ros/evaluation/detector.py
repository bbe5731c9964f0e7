# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good keypoints are, descriptors aside: repeatability, localisation, precision on shapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry.homography import warp_points


class Repeatability(NamedTuple):
    """Keypoints of two images of one plane, compared.

    Attributes:
        repeatability: Share of the keypoints seen by both images that have a counterpart.
        localization_px: Mean distance of those counterparts, pixels; NaN if there are none.
        num_shared: Keypoints of both images that the other image sees.
    """

    repeatability: float
    localization_px: float
    num_shared: int


def is_visible(points: Array, size_hw: tuple[int, int]) -> Array:
    """Return (N,) bool: which points (x, y) lie in the image."""
    limits = np.array(size_hw[::-1]) - 0.5
    return np.asarray(((points >= -0.5) & (points < limits)).all(1))


def measure_repeatability(
    keypoints_a: Array,
    keypoints_b: Array,
    H_b_a: Array,
    size_a_hw: tuple[int, int],
    size_b_hw: tuple[int, int],
    max_distance_px: float = 3.0,
) -> Repeatability:
    """Compare keypoints both ways (paper, Appendix A and B), all distances in image b.

    Args:
        keypoints_a: (N, 2) pixels of a.
        keypoints_b: (M, 2) pixels of b.
        H_b_a: (3, 3) pixels of a to pixels of b.
        size_a_hw: (height, width) of a.
        size_b_hw: (height, width) of b.
        max_distance_px: Counterparts are at most so far apart.
    """
    H_a_b = np.linalg.inv(H_b_a)
    mapped_a, mapped_b = warp_points(H_b_a, keypoints_a), warp_points(H_a_b, keypoints_b)
    seen_a, seen_b = is_visible(mapped_a, size_b_hw), is_visible(mapped_b, size_a_hw)
    in_b, of_b = mapped_a[seen_a], np.asarray(keypoints_b)[seen_b]
    distances = np.concatenate([nearest_distances(in_b, of_b), nearest_distances(of_b, in_b)])
    if not len(distances):
        return Repeatability(0.0, float("nan"), 0)
    is_repeated = distances <= max_distance_px
    localization = float(distances[is_repeated].mean()) if is_repeated.any() else float("nan")
    return Repeatability(float(is_repeated.mean()), localization, len(distances))


def nearest_distances(points: Array, others: Array) -> Array:
    """Return the distance of every point to the nearest of the others, (N,)."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    points, others = np.asarray(points, np.float64), np.asarray(others, np.float64)
    squared = (
        (points**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2.0 * points @ others.T
    ).min(1)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


class Detections(NamedTuple):
    """Detections of many images judged against the truth.

    Attributes:
        scores: (N,) of every detection that counts.
        is_correct: (N,) bool, near a true corner that no better detection took.
        num_true: True corners in all.
        distances_px: (N,) to the corner it found; NaN where it found none.
    """

    scores: Array
    is_correct: Array
    num_true: int
    distances_px: Array


def judge_detections(
    keypoints: Array,
    scores: Array,
    corners: Array,
    max_distance_px: float = 3.0,
    doubtful: Array | None = None,
) -> Detections:
    """Assign detections to true corners, best score first, each corner once.

    Args:
        keypoints: (N, 2) pixels.
        scores: (N,).
        corners: (M, 2) pixels.
        max_distance_px: Limit.
        doubtful: (K, 2) pixels; a detection that found no corner but lies near one of these does
            not count at all.
    """
    order = np.argsort(-scores, kind="stable")
    is_correct = np.zeros(len(scores), bool)
    distances = np.full(len(scores), np.nan)
    is_free = np.ones(len(corners), bool)
    for index in order:
        if not is_free.any():
            break
        distance = np.linalg.norm(corners - keypoints[index], axis=1)
        distance[~is_free] = np.inf
        nearest = int(distance.argmin())
        if distance[nearest] <= max_distance_px:
            is_correct[index] = True
            distances[index] = distance[nearest]
            is_free[nearest] = False
    counts = np.ones(len(scores), bool)
    if doubtful is not None:
        counts = is_correct | (nearest_distances(keypoints, doubtful) > max_distance_px)
    return Detections(
        np.asarray(scores)[counts], is_correct[counts], len(corners), distances[counts]
    )


def join_detections(parts: list[Detections]) -> Detections:
    """Pool the detections of several images."""
    return Detections(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.is_correct for part in parts]),
        sum(part.num_true for part in parts),
        np.concatenate([part.distances_px for part in parts]),
    )


def average_precision(scores: Array, is_correct: Array, num_true: int) -> float:
    """Return the area under the precision-recall curve (precision made monotone), in [0, 1]."""
    if num_true == 0 or not len(scores):
        return 0.0
    hits = np.asarray(is_correct, np.float64)[np.argsort(-np.asarray(scores), kind="stable")]
    true_positives = np.cumsum(hits)
    precision = true_positives / np.arange(1, len(hits) + 1)
    recall = true_positives / num_true
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((steps * precision).sum())
