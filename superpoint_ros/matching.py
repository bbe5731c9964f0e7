# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Correspondences between two sets of features, by descriptor; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Features

# With more than this share of all pairs in reach in x, matrices are cheaper than lists of pairs.
_DENSE_SHARE = 0.1
# With less than this share of candidates, single dot products are cheaper than the whole product.
_SPARSE_SHARE = 0.02


@dataclass(frozen=True)
class MatchConfig(Config):
    """What counts as a match; the default is the paper's plain nearest neighbours, mutual."""

    mutual: bool = option(True, "keep a pair only if each is the other's best", dynamic=True)
    min_similarity: float = option(
        -1.0,
        "smallest cosine of two matching descriptors (distance d: 1 - d^2 / 2); -1: off",
        minimum=-1.0,
        maximum=1.0,
        dynamic=True,
    )
    max_ratio: float = option(
        1.0,
        "largest ratio of the best to the second-best descriptor distance; 1: off",
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )


def match(features_a: Features, features_b: Features, config: MatchConfig | None = None) -> Array:
    """Match every feature of a with its nearest neighbour in b.

    Args:
        features_a: N_a features.
        features_b: N_b features of the same descriptor length.
        config: Tests that a pair has to pass.

    Returns:
        (M, 2) int64 indices into a and b, ascending in a; M = 0 if either is empty.

    Raises:
        ValueError: The descriptors differ in length.
    """
    config = config or MatchConfig()
    _check_same_length(features_a, features_b)
    if not len(features_a) or not len(features_b):
        return np.empty((0, 2), dtype=np.int64)
    return _best_of_matrix(features_a.descriptors @ features_b.descriptors.T, config)


def match_guided(
    features_a: Features,
    features_b: Features,
    predicted_pixels_a: Array,
    radius_px: float | Array,
    config: MatchConfig | None = None,
) -> Array:
    """Match every feature of a among those features of b that lie where a is expected.

    All tests of the config look at the candidates only: the mutual best is the best of all a that
    expect the pixel, the ratio compares with the second-best candidate in reach.

    Args:
        features_a: N_a features.
        features_b: N_b features of the same descriptor length.
        predicted_pixels_a: (N_a, 2), (x, y), where each of a is expected in b's image; a
            prediction that is not finite is not matched.
        radius_px: Search radius, pixels; one number or (N_a,).
        config: Tests that a pair has to pass.

    Returns:
        (M, 2) int64 indices into a and b, ascending in a.

    Raises:
        ValueError: The descriptors differ in length, or there is not one prediction per feature.
    """
    config = config or MatchConfig()
    _check_same_length(features_a, features_b)
    if np.shape(predicted_pixels_a) != (len(features_a), 2):
        raise ValueError(
            f"predicted_pixels_a {np.shape(predicted_pixels_a)} must be ({len(features_a)}, 2)"
        )
    if not len(features_a) or not len(features_b):
        return np.empty((0, 2), dtype=np.int64)
    radius = np.broadcast_to(np.asarray(radius_px, dtype=np.float64), (len(features_a),))
    a, b = features_a.descriptors, features_b.descriptors
    predicted = np.asarray(predicted_pixels_a, dtype=np.float64)
    keypoints = features_b.keypoints.astype(np.float64)
    strips = _strips(predicted, keypoints, radius)
    if strips.count.sum() > _DENSE_SHARE * len(a) * len(b):
        near = (predicted[:, :1] - keypoints[:, 0]) ** 2 + (
            predicted[:, 1:] - keypoints[:, 1]
        ) ** 2
        return _best_of_matrix(np.where(near <= radius[:, None] ** 2, a @ b.T, -np.inf), config)
    index_a, index_b = _pairs_within(strips, predicted, keypoints, radius)
    if not len(index_a):
        return np.empty((0, 2), dtype=np.int64)
    return _best_of_pairs(index_a, index_b, _pair_similarity(a, b, index_a, index_b), config)


def match_along_rows(
    features_a: Features,
    features_b: Features,
    pixels_a: Array,
    pixels_b: Array,
    max_row_error_px: float,
    disparities_px: tuple[float, float],
    config: MatchConfig | None = None,
) -> Array:
    """Match the two images of a rectified stereo pair: same row, disparity in a range.

    As in `match_guided`, all tests of the config look at the candidates only.

    Args:
        features_a: N_a features of the left image.
        features_b: N_b features of the right image, of the same descriptor length.
        pixels_a: (N_a, 2), (x, y), where they lie in the rectified left image; what is not finite
            is not matched.
        pixels_b: (N_b, 2), the same for the right image.
        max_row_error_px: Largest difference in y.
        disparities_px: Smallest and largest x of a minus x of b.
        config: Tests that a pair has to pass.

    Returns:
        (M, 2) int64 indices into a and b, ascending in a.

    Raises:
        ValueError: The descriptors differ in length.
    """
    config = config or MatchConfig()
    _check_same_length(features_a, features_b)
    rows_a, rows_b = pixels_a[:, ::-1], pixels_b[:, ::-1]
    strips = _strips(rows_a, rows_b, np.full(len(rows_a), max_row_error_px))
    index_a, index_b = _pairs_of(strips)
    disparity = pixels_a[index_a, 0] - pixels_b[index_b, 0]
    fits = (disparity >= disparities_px[0]) & (disparity <= disparities_px[1])
    index_a, index_b = index_a[fits], index_b[fits]
    if not len(index_a):
        return np.empty((0, 2), dtype=np.int64)
    similarity = _pair_similarity(features_a.descriptors, features_b.descriptors, index_a, index_b)
    return _best_of_pairs(index_a, index_b, similarity, config)


def _check_same_length(features_a: Features, features_b: Features) -> None:
    dim_a, dim_b = features_a.descriptors.shape[1], features_b.descriptors.shape[1]
    if dim_a != dim_b and len(features_a) and len(features_b):
        raise ValueError(
            f"descriptors of length {dim_a} and {dim_b} do not compare: they come from different "
            "networks"
        )


def _passes_ratio(best: Array, second: Array, max_ratio: float) -> Array:
    """Compare descriptor distances, squared: |a - b|^2 = 2 - 2 a.b for unit vectors."""
    distance_best = np.maximum(2.0 - 2.0 * best, 0.0)
    distance_second = np.maximum(2.0 - 2.0 * second, 0.0)
    passes: Array = distance_best <= max_ratio**2 * distance_second
    return passes


def _best_of_matrix(similarity: Array, config: MatchConfig) -> Array:
    """Reduce all pairs (N_a, N_b) to the best of each a that passes; -inf: not a candidate.

    Overwrites `similarity`.
    """
    index_a = np.arange(len(similarity))
    best_b = similarity.argmax(axis=1)
    best = similarity[index_a, best_b]
    keep = np.isfinite(best) & (best >= config.min_similarity)
    if config.mutual:
        keep &= similarity.argmax(axis=0)[best_b] == index_a
    if config.max_ratio < 1.0:
        similarity[index_a, best_b] = -np.inf
        keep &= _passes_ratio(best, similarity.max(axis=1), config.max_ratio)
    return np.stack([index_a[keep], best_b[keep]], axis=1).astype(np.int64)


@dataclass(frozen=True)
class _Strips:
    """Keypoints of b in reach in x: of prediction rows[i], count[i] many from by_x[first[i]]."""

    by_x: Array
    rows: Array
    first: Array
    count: Array


def _strips(predicted: Array, keypoints: Array, radius: Array) -> _Strips:
    by_x = np.argsort(keypoints[:, 0], kind="stable")
    x = keypoints[by_x, 0]
    rows = np.flatnonzero(np.isfinite(predicted).all(axis=1))
    first = np.searchsorted(x, predicted[rows, 0] - radius[rows], side="left")
    last = np.searchsorted(x, predicted[rows, 0] + radius[rows], side="right")
    return _Strips(by_x, rows, first, np.maximum(last - first, 0))


def _pairs_of(strips: _Strips) -> tuple[Array, Array]:
    """Return the indices of all pairs (prediction, keypoint) in reach, ascending in a."""
    index_a = np.repeat(strips.rows, strips.count)
    start = np.cumsum(strips.count) - strips.count
    within_strip = np.arange(len(index_a)) - np.repeat(start, strips.count)
    return index_a, strips.by_x[np.repeat(strips.first, strips.count) + within_strip]


def _pairs_within(
    strips: _Strips, predicted: Array, keypoints: Array, radius: Array
) -> tuple[Array, Array]:
    """Return the indices of all pairs (prediction, keypoint) within the radius, ascending in a."""
    index_a, index_b = _pairs_of(strips)
    offset = keypoints[index_b] - predicted[index_a]
    near = offset[:, 0] ** 2 + offset[:, 1] ** 2 <= radius[index_a] ** 2
    return index_a[near], index_b[near]


def _pair_similarity(a: Array, b: Array, index_a: Array, index_b: Array) -> Array:
    """Return the cosine of each pair, (P,)."""
    if len(index_a) < _SPARSE_SHARE * len(a) * len(b):
        cosines: Array = np.einsum("ij,ij->i", a[index_a], b[index_b])
    else:
        cosines = (a @ b.T)[index_a, index_b]
    return cosines


def _best_of_pairs(
    index_a: Array, index_b: Array, similarity: Array, config: MatchConfig
) -> Array:
    """Reduce candidate pairs, grouped by a, to the best of each a that passes the tests."""
    order = np.lexsort((-similarity, index_a))
    a, b, cosine = index_a[order], index_b[order], similarity[order]
    is_first = np.r_[True, a[1:] != a[:-1]]
    keep = is_first & (cosine >= config.min_similarity)
    if config.max_ratio < 1.0:
        has_second = np.r_[~is_first[1:], False]
        second = np.where(has_second, np.r_[cosine[1:], -np.inf], -np.inf)
        keep &= _passes_ratio(cosine, second, config.max_ratio)
    if config.mutual:
        best_of_b = np.full(int(b.max()) + 1, -np.inf, dtype=cosine.dtype)
        np.maximum.at(best_of_b, b, cosine)
        keep &= cosine == best_of_b[b]
        kept = np.flatnonzero(keep)
        _, first = np.unique(b[kept], return_index=True)  # of several that are equally near to b
        keep[np.delete(kept, first)] = False
    return np.stack([a[keep], b[keep]], axis=1).astype(np.int64)
