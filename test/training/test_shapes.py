# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from superpoint_ros.config import ConfigError, from_mapping
from superpoint_ros.training.shapes import KINDS, Canvas, ShapeConfig, draw_shape
from superpoint_ros.training.stage import TrainConfig


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_size_and_corners_inside(kind: str) -> None:
    config = ShapeConfig(height=72, width=104)
    total = 0
    for seed in range(12):
        image, corners, doubtful = draw_shape(np.random.default_rng(seed), config, kind)
        assert image.shape == (72, 104)
        assert image.dtype == np.uint8
        assert corners.shape == (len(corners), 2)
        assert corners.dtype == np.float32
        for points in (corners, doubtful):
            assert ((points > -0.5) & (points < [103.5, 71.5])).all()
        total += len(corners)
    assert (total == 0) == (kind in ("ellipses", "noise"))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [(["cubes", "star"], "no such shapes: cubes; there are lines, "), ([], "none; there are ")],
)
def test_kinds_that_do_not_exist_are_refused(kinds: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^shapes.kinds: {message}"):
        from_mapping(TrainConfig, {"shapes": {"kinds": kinds}})


def test_same_seed_same_drawing() -> None:
    config = ShapeConfig(height=64, width=96)
    first = draw_shape(np.random.default_rng([7, 3]), config)
    second = draw_shape(np.random.default_rng([7, 3]), config)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_drawn_edges_lie_where_the_coordinates_say_to_a_tenth_of_a_pixel() -> None:
    canvas = Canvas((60, 90), np.random.default_rng(0), 25.0)
    canvas.pixels[:] = 0
    canvas.fill(np.array([[20.3, 10.6], [70.8, 10.6], [70.8, 40.2], [20.3, 40.2]]), 200.0)
    image, corners, _ = canvas.finish(0.0, ShapeConfig())
    assert len(corners) == 4
    # Grey mass along a row: the pixel x covers [x - 0.5, x + 0.5].
    assert image[25].sum() / 200.0 == pytest.approx(70.8 - 20.3, abs=0.3)
    moments = cv2.moments(image)
    centre = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    assert centre == pytest.approx(((20.3 + 70.8) / 2, (10.6 + 40.2) / 2), abs=0.1)


def test_covered_and_faint_corners_are_left_out() -> None:
    canvas = Canvas((60, 90), np.random.default_rng(0), 25.0)
    canvas.pixels[:] = 100
    canvas.fill(np.array([[30, 20], [40, 20], [40, 30], [30, 30.0]]), 180.0)
    canvas.fill(np.array([[20, 10], [60, 10], [60, 50], [20, 50.0]]), 30.0)  # covers the first
    canvas.fill(np.array([[70, 10], [80, 10], [80, 20], [70, 20.0]]), 102.0)  # can not be seen
    canvas.fill(np.array([[70, 30], [86, 30], [86, 38], [78, 38.8], [70, 38]]), 200.0)
    _, corners, doubtful = canvas.finish(0.0, ShapeConfig())
    right = corners[:, 0] > 65
    assert sorted(map(tuple, corners[right])) == [(70, 30), (70, 38), (86, 30), (86, 38)]
    assert (78, 39) in map(tuple, doubtful.round())  # nearly straight
    assert (30, 20) in map(tuple, doubtful)
    corners = corners[~right]
    np.testing.assert_allclose(
        sorted(map(tuple, corners)), [(20, 10), (20, 50), (60, 10), (60, 50)], atol=1e-5
    )
