# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""When two views make a map, and which of two possible motions it gets."""

from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros.config import ConfigError, from_mapping
from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.odometry.initialization import InitializationConfig, TwoViewMap, start_map

from .conftest import PointWorld
from .test_visual_odometry import forward_curve


def rotation_error_deg(found: TwoViewMap, T_a_b: Array) -> float:
    return float(np.degrees(np.linalg.norm(se3.log_so3(found.T_a_b[:3, :3].T @ T_a_b[:3, :3]))))


@pytest.mark.parametrize("index", [36, 40, 45])
def test_views_from_between_tell_the_motions_that_a_wall_allows_apart(
    index: int, room: PointWorld
) -> None:
    """Towards a wall on a curve: two views fit two motions, 6 to 8 degrees apart."""
    poses = forward_curve(index + 1)
    first, *between, second = (
        room.observe(k, poses[k], False) for k in np.linspace(0, index, 6).astype(int)
    )
    assert start_map(first, second, InitializationConfig()) is None
    found = start_map(first, second, InitializationConfig(), between)
    assert found is not None
    assert rotation_error_deg(found, poses[index]) < 0.5


def test_views_that_saw_the_camera_nowhere_else_decide_nothing(room: PointWorld) -> None:
    poses = forward_curve(41)
    first, second = (room.observe(k, poses[k], False) for k in (0, 40))
    assert start_map(first, second, InitializationConfig(), [first, second]) is None


def test_a_map_starts_when_depth_is_known_well_enough(room: PointWorld) -> None:
    """Sideways, half a pixel of noise: depth to 3 % takes 2.5 times the way of 7.5 %."""
    poses = [se3.exp(np.array([0.005 * k, 0.0, 0.0, 0.0, 0.001 * k, 0.0])) for k in range(80)]
    seen = [room.observe(k, T, False) for k, T in enumerate(poses)]
    started = []
    for limit in (0.075, 0.03):
        config = from_mapping(InitializationConfig, {"max_depth_error": limit})
        found = [start_map(seen[0], view, config) for view in seen]
        started.append(next(k for k, made in enumerate(found) if made is not None))
        made = found[started[-1]]
        assert made is not None
        # The truth: depth by depth, apart from the scale.
        truth = room.points[nearest(room, seen[0].pixels[made.pairs[:, 0]])][:, 2]
        ratio = made.points_a[:, 2] / truth
        spread = np.median(np.abs(ratio / np.median(ratio) - 1.0)) / 0.6745
        assert 0.4 * limit < spread < 1.6 * limit
    assert started[1] / started[0] == pytest.approx(2.5, rel=0.3)


def nearest(world: PointWorld, pixels: Array) -> Array:
    """Return the points that the camera at the origin sees nearest to some pixels."""
    from superpoint_ros.geometry.triangulation import project

    from .conftest import K

    all_pixels = np.nan_to_num(project(world.points, K), nan=1e9)
    return np.asarray(
        [int(np.argmin(np.linalg.norm(all_pixels - pixel, axis=1))) for pixel in pixels]
    )


def test_a_map_so_small_that_all_of_it_counts_as_behind_the_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match="median_depth"):
        from_mapping(InitializationConfig, {"median_depth": 0.01})
