# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid motions as 4x4 matrices, and their tangent vectors.

The one convention of the package: a tangent vector is (translation, rotation), metres and radians,
and it perturbs on the **right**, `T_world_cam @ exp(xi)`: xi lives in the camera frame. A
covariance of a pose is the covariance of that xi. ROS wants it along the axes of the parent frame;
`covariance_in_parent` turns it.
"""

from __future__ import annotations

import numpy as np

from superpoint_ros.data import Array

_SMALL_ANGLE = 1e-5  # below it the Taylor series is exact to double precision


def hat(vector: Array) -> Array:
    """Return the skew matrix with `hat(a) @ b = a x b`. (3,) -> (3, 3), (N, 3) -> (N, 3, 3)."""
    vector = np.asarray(vector, np.float64)
    matrix = np.zeros((*vector.shape, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -z, y, -x
    matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1] = z, -y, x
    return matrix


def exp_so3(phi: Array) -> Array:
    """Return the rotation matrix (3, 3) of the rotation vector `phi` (3,), radians."""
    a, b, _ = _coefficients(float(np.linalg.norm(phi)))
    W = hat(phi)
    return np.eye(3) + a * W + b * W @ W


def log_so3(R: Array) -> Array:
    """Return the rotation vector (3,) of `R` (3, 3), radians, of length in [0, pi]."""
    # Through the quaternion: well conditioned at every angle, also at pi.
    x, y, z, w = quaternion_from_rotation(R)
    xyz = np.array([x, y, z])
    length = float(np.linalg.norm(xyz))
    if length < _SMALL_ANGLE:
        return np.asarray(2.0 * xyz / w, np.float64)
    return np.asarray(2.0 * np.arctan2(length, w) / length * xyz, np.float64)


def angles_between(R_a: Array, R_b: Array) -> Array:
    """Return the angles (N,) of R_a^T R_b (N, 3, 3), radians; exact also where they are small."""
    R = np.swapaxes(R_a, 1, 2) @ R_b
    axis = np.stack(
        [R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], axis=1
    )
    sine, cosine = np.linalg.norm(axis, axis=1) / 2.0, (np.trace(R, axis1=1, axis2=2) - 1.0) / 2.0
    return np.asarray(np.arctan2(sine, cosine))


def exp(xi: Array) -> Array:
    """Return the pose (4, 4) of the tangent vector `xi` (6,): translation, rotation."""
    rho, phi = np.asarray(xi[:3], np.float64), np.asarray(xi[3:], np.float64)
    a, b, c = _coefficients(float(np.linalg.norm(phi)))
    W = hat(phi)
    WW = W @ W
    T = np.eye(4)
    T[:3, :3] += a * W + b * WW
    T[:3, 3] = rho + b * (W @ rho) + c * (WW @ rho)
    return T


def log(T: Array) -> Array:
    """Return the tangent vector (6,), translation first, of the pose `T` (4, 4)."""
    phi = log_so3(T[:3, :3])
    angle = float(np.linalg.norm(phi))
    W = hat(phi)
    if angle < _SMALL_ANGLE:
        k = 1.0 / 12.0
    else:
        k = (1.0 - 0.5 * angle * np.cos(0.5 * angle) / np.sin(0.5 * angle)) / angle**2
    rho = T[:3, 3] - 0.5 * W @ T[:3, 3] + k * W @ W @ T[:3, 3]
    return np.concatenate([rho, phi])


def inverse(T: Array) -> Array:
    """Return the inverse of a pose (4, 4)."""
    T_inverse = np.eye(4)
    T_inverse[:3, :3] = T[:3, :3].T
    T_inverse[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return T_inverse


def adjoint(T: Array) -> Array:
    """Return Ad (6, 6) with `T @ exp(xi) = exp(Ad @ xi) @ T`, translation first."""
    R = T[:3, :3]
    Ad = np.zeros((6, 6))
    Ad[:3, :3] = Ad[3:, 3:] = R
    Ad[:3, 3:] = hat(T[:3, 3]) @ R
    return Ad


def transform_points(T_b_a: Array, points_a: Array) -> Array:
    """Return points (N, 3) of frame a in frame b."""
    return np.asarray(points_a @ T_b_a[:3, :3].T + T_b_a[:3, 3], np.float64)


def interpolate(T_world_a: Array, T_world_b: Array, ratio: float) -> Array:
    """Return the pose at `ratio` of the way from a (0) to b (1); other ratios extrapolate."""
    return np.asarray(T_world_a @ exp(ratio * log(inverse(T_world_a) @ T_world_b)), np.float64)


def orthonormalized(T: Array) -> Array:
    """Return `T` with the nearest rotation: removes the drift of many products."""
    U, _, Vt = np.linalg.svd(T[:3, :3])
    nearest = np.array(T, np.float64)
    nearest[:3, :3] = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    nearest[3] = [0.0, 0.0, 0.0, 1.0]
    return nearest


def covariance_in_parent(T_parent_child: Array, covariance: Array) -> Array:
    """Turn a covariance from the child's axes (our tangent) to the parent's (ROS).

    nav_msgs/Odometry wants the covariance of the child's origin and of small rotations about
    axes parallel to the parent's: both blocks are rotated, the lever arm plays no part.
    """
    J = np.zeros((6, 6))
    J[:3, :3] = J[3:, 3:] = T_parent_child[:3, :3]
    return np.asarray(J @ covariance @ J.T, np.float64)


def pose_from_quaternion(translation: Array, quaternion_xyzw: Array) -> Array:
    """Return the pose (4, 4) of a translation (3,) and a quaternion (x, y, z, w) of any length."""
    x, y, z, w = np.asarray(quaternion_xyzw, np.float64) / np.linalg.norm(quaternion_xyzw)
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = translation
    return T


def quaternion_from_rotation(R: Array) -> Array:
    """Return the unit quaternion (x, y, z, w), w >= 0, of a rotation matrix (3, 3)."""
    # The four candidate squares (Shepperd): divide by the largest, so nothing cancels.
    diagonal = np.diagonal(R)
    squares = np.array([*(2.0 * diagonal - np.trace(R)), np.trace(R)])
    k = int(np.argmax(squares))
    if k == 3:
        q = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], 1.0 + np.trace(R)])
    else:
        i, j, m = k, (k + 1) % 3, (k + 2) % 3
        q = np.empty(4)
        q[i] = 1.0 + squares[i]
        q[j] = R[j, i] + R[i, j]
        q[m] = R[m, i] + R[i, m]
        q[3] = R[m, j] - R[j, m]
    q /= np.linalg.norm(q)
    return np.asarray(-q if q[3] < 0 else q, np.float64)


def _coefficients(angle: float) -> tuple[float, float, float]:
    """Return sin(a)/a, (1 - cos a)/a^2 and (a - sin a)/a^3."""
    if angle < _SMALL_ANGLE:
        return 1.0 - angle**2 / 6.0, 0.5 - angle**2 / 24.0, 1.0 / 6.0
    half = np.sin(0.5 * angle) / angle
    return (
        float(np.sin(angle) / angle),
        float(2.0 * half * half),
        float((angle - np.sin(angle)) / angle**3),
    )
