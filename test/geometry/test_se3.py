# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry import se3


def random_twist(rng: np.random.Generator, angle: float) -> np.ndarray:
    axis = rng.normal(size=3)
    return np.concatenate([rng.normal(size=3), angle * axis / np.linalg.norm(axis)])


def test_exp_of_a_quarter_turn_about_z_while_going_forward() -> None:
    # A quarter circle: x = sin(a)/a * v, y = (1 - cos a)/a * v with a = pi/2, v = 1.
    T = se3.exp(np.array([1.0, 0, 0, 0, 0, np.pi / 2]))
    np.testing.assert_allclose(T[:3, :3], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(T[:3, 3], [2 / np.pi, 2 / np.pi, 0], atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 1.0, 3.0, np.pi - 1e-7])
def test_log_inverts_exp(angle: float) -> None:
    xi = random_twist(np.random.default_rng(1), angle)
    np.testing.assert_allclose(se3.log(se3.exp(xi)), xi, atol=1e-8)


def test_log_of_a_half_turn_has_length_pi() -> None:
    R = np.diag([1.0, -1.0, -1.0])
    assert np.linalg.norm(se3.log_so3(R)) == pytest.approx(np.pi)


def test_adjoint_moves_a_perturbation_from_right_to_left() -> None:
    rng = np.random.default_rng(2)
    T, xi = se3.exp(random_twist(rng, 1.2)), 1e-3 * random_twist(rng, 1.0)
    np.testing.assert_allclose(T @ se3.exp(xi), se3.exp(se3.adjoint(T) @ xi) @ T, atol=1e-14)


def test_inverse_and_points() -> None:
    T = se3.exp(random_twist(np.random.default_rng(3), 0.7))
    points = np.arange(12.0).reshape(4, 3)
    there_and_back = se3.transform_points(se3.inverse(T), se3.transform_points(T, points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-12)
    assert se3.transform_points(T, np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("twist", [[0, 0, 0, 3.1, 0.1, 0], [0, 0, 0, 0, 3.1, 0], [0.0] * 6])
def test_quaternion_round_trip(twist: list[float]) -> None:
    T = se3.exp(np.array(twist, float))
    q = se3.quaternion_from_rotation(T[:3, :3])
    np.testing.assert_allclose(se3.pose_from_quaternion(T[:3, 3], q), T, atol=1e-12)


def test_angles_between_rotations_are_exact_from_nought_to_half_a_turn() -> None:
    rng = np.random.default_rng(5)
    angles = np.array([0.0, 1e-10, 1e-5, 0.3, np.pi / 2, 2.0, np.pi - 1e-5, np.pi])
    R_a = np.array([se3.exp_so3(rng.normal(size=3)) for _ in angles])
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    R_b = R_a @ np.array([se3.exp_so3(angle * axis) for angle in angles])
    np.testing.assert_allclose(se3.angles_between(R_a, R_b), angles, rtol=1e-5, atol=1e-15)


def test_quaternions_are_of_unit_length_and_turn_the_short_way() -> None:
    half = np.sqrt(0.5)
    for turn, expected in (
        ([0, 0, np.pi / 2], [0, 0, half, half]),
        ([0, -np.pi / 2, 0], [0, -half, 0, half]),
        ([3.0, 0, 0], [np.sin(1.5), 0, 0, np.cos(1.5)]),
        ([-3.0, 0, 0], [-np.sin(1.5), 0, 0, np.cos(1.5)]),  # from the branch of the largest x
        ([0, -3.0, 0], [0, -np.sin(1.5), 0, np.cos(1.5)]),
        ([0, 0, -3.0], [0, 0, -np.sin(1.5), np.cos(1.5)]),
    ):
        R = se3.exp_so3(np.array(turn, float))
        np.testing.assert_allclose(se3.quaternion_from_rotation(R), expected, atol=1e-12)
    T = se3.pose_from_quaternion(np.zeros(3), np.array([0, 0, 3.0, 3.0]))  # of any length
    np.testing.assert_allclose(T[:3, :3], se3.exp_so3(np.array([0, 0, np.pi / 2])), atol=1e-12)


def test_covariance_in_parent_turns_both_blocks() -> None:
    # Camera z along the parent's x: uncertainty in depth becomes uncertainty in x.
    T_odom_cam = np.eye(4)
    T_odom_cam[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T_odom_cam[:3, 3] = [5.0, 7.0, 9.0]
    turned = se3.covariance_in_parent(T_odom_cam, np.diag([1.0, 2, 3, 4, 5, 6]))
    np.testing.assert_allclose(np.diag(turned), [3, 1, 2, 6, 4, 5])


def test_interpolate_half_way_and_beyond() -> None:
    a, b = np.eye(4), se3.exp(np.array([2.0, 0, 0, 0, 0, 0.4]))
    half = se3.interpolate(a, b, 0.5)
    np.testing.assert_allclose(half @ half, b, atol=1e-14)
    np.testing.assert_allclose(se3.interpolate(a, b, 2.0), b @ b, atol=1e-14)


def test_orthonormalized_removes_drift() -> None:
    T = se3.exp(random_twist(np.random.default_rng(4), 0.5))
    drifted = T.copy()
    drifted[:3, :3] *= 1.001
    np.testing.assert_allclose(se3.orthonormalized(drifted), T, atol=1e-12)
