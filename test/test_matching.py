# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros import matching
from superpoint_ros.data import Features
from superpoint_ros.matching import MatchConfig, match, match_along_rows, match_guided

SIZE_HW = (120, 200)


def make_features(rng: np.random.Generator, count: int, dim: int = 16) -> Features:
    descriptors = rng.normal(size=(count, dim)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform((0, 0), (SIZE_HW[1], SIZE_HW[0]), (count, 2)).astype(np.float32)
    return Features(keypoints, np.ones(count, np.float32), descriptors, SIZE_HW)


def unit(*angles_deg: float) -> Features:
    """Features on the unit circle: cosines known by hand."""
    angles = np.deg2rad(angles_deg)
    descriptors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    count = len(angles_deg)
    return Features(np.zeros((count, 2), np.float32), np.ones(count), descriptors, SIZE_HW)


def match_by_loops(
    a: Features, b: Features, config: MatchConfig, candidates: np.ndarray
) -> list[tuple[int, int]]:
    """The definition, one pair at a time."""
    cosine = np.where(candidates, a.descriptors @ b.descriptors.T, -np.inf)
    pairs = []
    for i in range(len(a)):
        j = int(cosine[i].argmax())
        if not np.isfinite(cosine[i, j]) or cosine[i, j] < config.min_similarity:
            continue
        others = np.delete(cosine[i], j)
        second = others.max() if len(others) else -np.inf
        distances = np.sqrt(np.maximum(2 - 2 * np.array([cosine[i, j], second]), 0))
        if config.max_ratio < 1.0 and distances[0] > config.max_ratio * distances[1]:
            continue
        if config.mutual and cosine[:, j].argmax() != i:
            continue
        pairs.append((i, j))
    return pairs


CONFIGS = [
    MatchConfig(),
    MatchConfig(mutual=False),
    MatchConfig(min_similarity=0.6),
    MatchConfig(max_ratio=0.9),
    MatchConfig(mutual=False, max_ratio=0.85, min_similarity=0.5),
]


def test_permutation_is_found(rng: np.random.Generator) -> None:
    a = make_features(rng, 40)
    order = rng.permutation(40)
    pairs = match(a, a.take(order))
    assert pairs.dtype == np.int64
    assert np.array_equal(pairs[:, 0], np.arange(40))
    assert np.array_equal(order[pairs[:, 1]], np.arange(40))


def test_mutual_by_hand() -> None:
    # Both a are nearest to b0; b0 prefers a1. b1 is nobody's best.
    a, b = unit(0.0, 20.0), unit(30.0, 120.0)
    assert match(a, b).tolist() == [[1, 0]]
    assert match(a, b, MatchConfig(mutual=False)).tolist() == [[0, 0], [1, 0]]


def test_similarity_and_ratio_by_hand() -> None:
    a, b = unit(0.0), unit(60.0, -90.0)  # cosine 0.5 and 0; distances 1 and sqrt(2): ratio 0.707
    assert len(match(a, b, MatchConfig(min_similarity=0.49))) == 1
    assert len(match(a, b, MatchConfig(min_similarity=0.51))) == 0
    assert len(match(a, b, MatchConfig(max_ratio=0.72))) == 1
    assert len(match(a, b, MatchConfig(max_ratio=0.70))) == 0


@pytest.mark.parametrize("config", CONFIGS)
def test_matches_equal_the_definition(config: MatchConfig, rng: np.random.Generator) -> None:
    a, b = make_features(rng, 50), make_features(rng, 70)
    everything = np.ones((50, 70), dtype=bool)
    expected = match_by_loops(a, b, config, everything)
    assert match(a, b, config).tolist() == [list(pair) for pair in expected]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dense_share", [0.0, 2.0])  # always matrices, never matrices
@pytest.mark.parametrize("radius", [3.0, 25.0, 400.0])
def test_guided_matches_equal_the_definition(
    config: MatchConfig,
    dense_share: float,
    radius: float,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matching, "_DENSE_SHARE", dense_share)
    a, b = make_features(rng, 50), make_features(rng, 70)
    predicted = a.keypoints + rng.normal(0, 10, (50, 2))
    predicted[::7] = np.nan
    distance = np.linalg.norm(predicted[:, None] - b.keypoints[None], axis=2)
    expected = match_by_loops(a, b, config, distance <= radius)
    found = match_guided(a, b, predicted, radius, config)
    assert found.tolist() == [list(pair) for pair in expected]


@pytest.mark.parametrize("config", CONFIGS)
def test_matches_along_rows_equal_the_definition(
    config: MatchConfig, rng: np.random.Generator
) -> None:
    a, b = make_features(rng, 60), make_features(rng, 80)
    pixels_a, pixels_b = a.keypoints.astype(np.float64), b.keypoints.astype(np.float64)
    pixels_a[7] = pixels_b[5] = np.nan
    pairs = match_along_rows(a, b, pixels_a, pixels_b, 12.0, (2.0, 90.0), config)
    offset = pixels_a[:, None] - pixels_b
    disparity, row_error = offset[..., 0], np.abs(offset[..., 1])
    candidates = (row_error <= 12.0) & (disparity >= 2.0) & (disparity <= 90.0)
    assert list(map(tuple, pairs.tolist())) == match_by_loops(a, b, config, candidates)


@pytest.mark.parametrize("dense_share", [0.0, 2.0])
def test_what_lies_just_on_a_limit_is_allowed(
    dense_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_DENSE_SHARE", dense_share)
    count = 6
    a = Features(np.zeros((count, 2), np.float32), np.ones(count), np.eye(count), SIZE_HW)
    places = np.array([[15.0, 20], [5, 20], [10, 25], [10, 15], [13, 24], [7, 16]])  # 5 px off
    b = Features(places.astype(np.float32), np.ones(count), np.eye(count), SIZE_HW)
    exact = MatchConfig(min_similarity=1.0)
    predicted = np.tile([10.0, 20.0], (count, 1))
    assert len(match_guided(a, b, predicted, 5.0, exact)) == count
    assert len(match_guided(a, b, predicted, 4.99, exact)) == 0
    assert len(match(a, b, exact)) == count
    shifted = places + np.array([[4.0, 2], [4, -2], [8, 2], [8, -2], [3.9, 0], [8.1, 0]])
    pairs = match_along_rows(a, b, shifted, places, 2.0, (4.0, 8.0), exact)
    assert pairs[:, 0].tolist() == [0, 1, 2, 3]


def test_guided_with_a_radius_each(rng: np.random.Generator) -> None:
    a = make_features(rng, 30)
    predicted = a.keypoints + np.array([6.0, 8.0])  # every true partner is 10 pixels off
    radius = np.where(np.arange(30) < 12, 10.5, 9.5)
    found = match_guided(a, a, predicted, radius)
    true_pairs = found[found[:, 0] == found[:, 1]]
    assert np.array_equal(true_pairs[:, 0], np.arange(12))


def test_empty_sets(rng: np.random.Generator) -> None:
    some, none = make_features(rng, 5), make_features(rng, 0)
    for a, b in ((some, none), (none, some), (none, none)):
        for found in (match(a, b), match_guided(a, b, np.zeros((len(a), 2)), 10.0)):
            assert found.shape == (0, 2)
            assert found.dtype == np.int64
    nowhere = np.full((5, 2), np.nan)
    assert match_guided(some, some, nowhere, 10.0).shape == (0, 2)
    assert match_guided(some, some, some.keypoints + 1e6, 10.0).shape == (0, 2)


def test_single_candidate_passes_the_ratio(rng: np.random.Generator) -> None:
    one = make_features(rng, 1)
    config = MatchConfig(max_ratio=0.5)
    assert match(one, one, config).tolist() == [[0, 0]]
    assert match_guided(one, one, one.keypoints, 1.0, config).tolist() == [[0, 0]]


def test_wrong_lengths_are_named(rng: np.random.Generator) -> None:
    a, b = make_features(rng, 3, dim=16), make_features(rng, 3, dim=8)
    with pytest.raises(ValueError, match="16 and 8"):
        match(a, b)
    with pytest.raises(ValueError, match=r"\(2, 2\) must be \(3, 2\)"):
        match_guided(a, a, np.zeros((2, 2)), 1.0)


def test_inputs_are_left_alone(rng: np.random.Generator) -> None:
    a = make_features(rng, 10)
    before = a.descriptors.copy()
    match(a, a, MatchConfig(max_ratio=0.5))
    assert np.array_equal(a.descriptors, before)


def test_of_several_equally_near_the_first_is_the_partner():
    """Two landmarks of one track have one descriptor; both matchers answer alike."""
    rng = np.random.default_rng(8)
    row = rng.normal(size=(1, 16)).astype(np.float32)
    row /= np.linalg.norm(row)
    others = rng.normal(size=(40, 16)).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    descriptors = np.concatenate([row, row, others])
    places = np.concatenate([[[5.0, 5.0], [6.0, 5.0]], rng.uniform(50, 90, (40, 2))])
    a = Features(places.astype(np.float32), np.ones(42), descriptors, (100, 100))
    b = Features(places[[0]].astype(np.float32), np.ones(1), row, (100, 100))
    config = MatchConfig(min_similarity=0.9)
    assert match_guided(a, b, places, 10.0, config).tolist() == [[0, 0]]
    assert match(a, b, config).tolist() == [[0, 0]]
