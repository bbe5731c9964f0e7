# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import (
    Triangulation,
    back_project,
    project,
    triangulate,
)

K = np.array([[420.0, 0, 355], [0, 421, 250], [0, 0, 1]])


def test_back_projection_inverts_projection() -> None:
    points = np.array([[0.5, -0.2, 2.0], [-1.0, 0.3, 5.0]])
    np.testing.assert_allclose(back_project(project(points, K), points[:, 2], K), points)
    assert np.isnan(project(np.array([[0.0, 0.0, -1.0]]), K)).all()


def test_a_skewed_image_is_projected_and_back_as_its_matrix_says() -> None:
    skewed = K + np.array([[0, 30.0, 0], [0, 0, 0], [0, 0, 0]])
    points = np.array([[0.5, -0.2, 2.0], [-1.0, 0.3, 5.0]])
    homogeneous = points @ skewed.T
    pixels = project(points, skewed)
    np.testing.assert_allclose(pixels, homogeneous[:, :2] / homogeneous[:, 2:])
    np.testing.assert_allclose(back_project(pixels, points[:, 2], skewed), points)


def test_exact_views_give_the_points_and_their_parallax() -> None:
    rng = np.random.default_rng(1)
    T_world_a = se3.exp(np.array([5.0, 6, 7, 0.3, -0.2, 0.1]))
    T_world_b = T_world_a @ se3.exp(np.array([1.0, 0, 0, 0, 0.1, 0]))
    points = se3.transform_points(T_world_a, rng.uniform([-1, -1, 3], [1, 1, 6], (20, 3)))
    pixels_a = project(se3.transform_points(se3.inverse(T_world_a), points), K)
    pixels_b = project(se3.transform_points(se3.inverse(T_world_b), points), K)
    result = triangulate(T_world_a, T_world_b, pixels_a, pixels_b, K, K)
    np.testing.assert_allclose(result.points_world, points, atol=1e-8)
    assert result.good(np.radians(5), 0.01).all()
    to_a, to_b = T_world_a[:3, 3] - points, T_world_b[:3, 3] - points
    cosine = (to_a * to_b).sum(1) / np.linalg.norm(to_a, axis=1) / np.linalg.norm(to_b, axis=1)
    np.testing.assert_allclose(result.parallax, np.arccos(cosine), atol=1e-7)


def test_pure_rotation_and_points_behind_are_not_good() -> None:
    pixels = np.array([[100.0, 90.0], [500.0, 300.0]])
    turned = np.eye(4)
    turned[:3, :3] = se3.exp_so3(np.array([0.0, 0.05, 0.0]))
    directions = back_project(pixels, np.ones(2), K)
    pixels_b = project(se3.transform_points(se3.inverse(turned), directions), K)
    assert not triangulate(np.eye(4), turned, pixels, pixels_b, K, K).good(1e-3, 2.0).any()
    # Diverging rays meet behind the cameras.
    right = np.eye(4)
    right[0, 3] = 1.0
    behind = triangulate(np.eye(4), right, pixels, pixels + np.array([30.0, 0.0]), K, K)
    assert not behind.good(1e-3, 2.0).any()


def test_the_error_is_that_of_the_view_that_fits_worse() -> None:
    """Rows 4 px off in an image of three times the focal length: most of that shows there."""
    K_b = np.diag([3.0, 3.0, 1.0]) @ K
    T_world_b = se3.exp(np.array([1.0, 0, 0, 0, 0.1, 0]))
    points = np.random.default_rng(2).uniform([-1, -1, 3], [1, 1, 6], (20, 3))
    points_b = se3.transform_points(se3.inverse(T_world_b), points)
    a, b = project(points, K), project(points_b, K_b)
    b[:, 1] += 4.0
    result = triangulate(np.eye(4), T_world_b, a, b, K, K_b)
    found = result.points_world
    found_b = se3.transform_points(se3.inverse(T_world_b), found)
    error_a = np.linalg.norm(project(found, K) - a, axis=1)
    error_b = np.linalg.norm(project(found_b, K_b) - b, axis=1)
    assert (error_b > 2.0 * error_a).all()
    np.testing.assert_allclose(result.error_px, error_b)
    swapped = triangulate(T_world_b, np.eye(4), b, a, K_b, K)
    np.testing.assert_allclose(swapped.error_px, error_b, rtol=1e-3)


def test_each_condition_alone_makes_a_point_bad() -> None:
    parallax, depth, error_px = np.full(5, 0.1), np.ones((2, 5)), np.full(5, 0.5)
    depth[0, 1], depth[1, 2], parallax[3], error_px[4] = -1.0, -1.0, 0.01, 2.0
    good = Triangulation(np.ones((5, 3)), parallax, *depth, error_px).good(0.05, 1.0)
    assert good.tolist() == [True, False, False, False, False]


def test_parallel_rays_meet_nowhere() -> None:
    right = np.eye(4)
    right[0, 3] = 1.0
    pixels = np.array([[K[0, 2], K[1, 2]]])
    result = triangulate(np.eye(4), right, pixels, pixels, K, K)
    assert np.isnan(result.points_world).all()
    assert np.isinf(result.error_px).all()
    assert not result.good(-1.0, np.inf).any()


def test_a_point_behind_one_camera_alone_is_not_good() -> None:
    """Camera b stands past the point: its pixel is that of the ray's other end."""
    T_world_b = np.eye(4)
    T_world_b[:3, 3] = 0.5, 0.0, 2.0
    point, K_unit = np.array([[0.3, 0.1, 1.0]]), np.eye(3)
    a, b = np.array([[0.3, 0.1]]), np.array([[0.2, -0.1]])
    for poses, pixels in (((np.eye(4), T_world_b), (a, b)), ((T_world_b, np.eye(4)), (b, a))):
        result = triangulate(*poses, *pixels, K_unit, K_unit)
        np.testing.assert_allclose(result.points_world, point)
        assert sorted([result.depth_a[0], result.depth_b[0]]) == pytest.approx([-1.0, 1.0])
        assert not result.good(0.0, np.inf).any()


def test_no_points() -> None:
    empty = np.empty((0, 2))
    result = triangulate(np.eye(4), np.eye(4), empty, empty, K, K)
    assert result.points_world.shape == (0, 3)
    assert result.good(0.0, 1.0).shape == (0,)
