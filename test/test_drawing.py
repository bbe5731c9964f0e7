# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros.drawing import (
    GREEN,
    RED,
    draw_keypoints,
    draw_matches,
    draw_text,
    draw_tracks,
    to_colour,
)

SHAPES = [(48, 80), (48, 80, 1), (48, 80, 3), (48, 80, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_colour_is_a_copy(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 9, np.uint8)
    colour = to_colour(image)
    assert colour.shape == (48, 80, 3)
    colour[:] = 200
    assert image.max() == 9


def test_keypoint_is_drawn_at_its_place() -> None:
    image = np.zeros((48, 80), np.uint8)
    drawn = draw_keypoints(image, np.array([[60.0, 12.0]]))
    ys, xs = np.nonzero(drawn.any(axis=2))
    assert abs(xs.mean() - 60) < 0.5
    assert abs(ys.mean() - 12) < 0.5
    assert image.max() == 0


def test_weak_is_red_and_strong_is_green() -> None:
    keypoints = np.array([[15.0, 20.0], [60.0, 20.0]])
    drawn = draw_keypoints(np.zeros((48, 80), np.uint8), keypoints, np.array([0.9, 0.1]))
    assert drawn[:, :40].reshape(-1, 3).max(axis=0).argmax() == 1  # green of BGR
    assert drawn[:, 40:].reshape(-1, 3).max(axis=0).argmax() == 2


def test_match_joins_both_images() -> None:
    a, b = np.zeros((48, 80), np.uint8), np.zeros((60, 40, 3), np.uint8)
    keypoints_a, keypoints_b = np.array([[10.0, 24.0]]), np.array([[30.0, 24.0]])
    drawn = draw_matches(a, b, keypoints_a, keypoints_b, np.array([[0, 0]]))
    assert drawn.shape == (60, 120, 3)
    assert drawn[24, 10:110].any(axis=1).all()
    assert drawn[24, 60].argmax() == np.argmax(GREEN)  # blended: the line is anti-aliased
    outlier = draw_matches(
        a, b, keypoints_a, keypoints_b, np.array([[0, 0]]), inliers=np.array([False])
    )
    assert outlier[24, 60].argmax() == np.argmax(RED)


def test_nothing_to_draw_and_wild_points() -> None:
    image = np.zeros((48, 80), np.uint8)
    none = np.empty((0, 2))
    assert not draw_keypoints(image, none, np.empty(0)).any()
    assert not draw_tracks(image, none, none, none).any()
    assert not draw_matches(image, image, none, none, np.empty((0, 2), np.int64)).any()
    wild = np.array([[np.nan, 3.0], [np.inf, -np.inf], [1e12, -1e12]])
    draw_tracks(image, wild, wild, wild[::-1])


def test_text_changes_the_corner() -> None:
    canvas = np.full((480, 640, 3), 128, np.uint8)
    draw_text(canvas, "TRACKING 123")
    assert (canvas[:60, :200] != 128).any()
    assert (canvas[60:] == 128).all()
