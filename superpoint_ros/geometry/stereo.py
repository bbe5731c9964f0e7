# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two cameras side by side: pixels rectified so that a point lies on one row, disparity to depth.

Only keypoints are rectified, never images: detection sees the pictures as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.triangulation import rays

_MAX_BASELINE = 20.0  # metres: beyond, somebody meant millimetres
_MAX_ANGLE_DEG = 45.0  # between the optical axes, and of the baseline to the left image's rows
_CURE = "calibrate the pair (camera_calibration), or set stereo.T_left_right"


@dataclass(frozen=True)
class StereoPair:
    """A left and a right camera and the rotations that make their images parallel.

    Attributes:
        left: Its `K` is that of both rectified images.
        right: The other one.
        R_rect_left: (3, 3), left optical frame to the rectified one.
        R_rect_right: (3, 3), right optical frame to the rectified one.
        baseline: Distance of the cameras, metres, positive.
    """

    left: Camera
    right: Camera
    R_rect_left: Array
    R_rect_right: Array
    baseline: float

    @classmethod
    def from_cameras(cls, left: Camera, right: Camera) -> StereoPair:
        """Take R and P of both camera_info.

        Raises:
            CalibrationError: R is no rotation, or P holds no baseline that can be.
        """
        offsets = []
        for camera in (left, right):
            where = _name(camera)
            if not np.allclose(camera.R_rect_cam @ camera.R_rect_cam.T, np.eye(3), atol=1e-3):
                raise CalibrationError(f"{where}: R is not a rotation; {_CURE}")
            if not np.isfinite(camera.P).all() or abs(camera.P[1, 3]) > abs(camera.P[0, 3]):
                raise CalibrationError(
                    f"{where}: P[:, 3] is {camera.P[:2, 3]}, which is not that of cameras side by "
                    f"side; {_CURE}"
                )
            # The left camera has an offset too where a third one is the origin (KITTI's colour).
            fx = camera.P[0, 0]
            offsets.append(-camera.P[0, 3] / fx if fx > 0.0 else 0.0)
        baseline = float(offsets[1] - offsets[0])
        if baseline == 0.0:
            raise CalibrationError(
                f"{_name(right)}: P[0, 3] (-fx * baseline) is {right.P[0, 3]:g}, as that of the "
                f"left camera, so the baseline is unknown; {_CURE}"
            )
        where = f"{_name(right)}, P[0, 3]"
        _check_baseline(baseline, where)
        return cls(left, right, left.R_rect_cam, right.R_rect_cam, baseline)

    @classmethod
    def from_extrinsics(cls, left: Camera, right: Camera, T_left_right: Array) -> StereoPair:
        """Rectify two cameras of known relative pose; R and P of camera_info are not used.

        Args:
            left: Left camera.
            right: Right camera.
            T_left_right: (4, 4), pose of the right optical frame in the left.

        Raises:
            CalibrationError: They do not stand side by side and look the same way.
        """
        where = "stereo.T_left_right"
        R, t = T_left_right[:3, :3], T_left_right[:3, 3]
        baseline = float(np.linalg.norm(t))
        if baseline < 1e-6:
            raise CalibrationError(f"{where}: the baseline (first three numbers) is zero")
        x = t / baseline
        limit = np.cos(np.radians(_MAX_ANGLE_DEG))
        _check_baseline(float(np.copysign(baseline, x[0])), where)
        if x[0] < limit or R[2, 2] < limit:
            raise CalibrationError(
                f"{where}: the right camera is not beside the left one, looking the same way: it "
                f"is at ({t[0]:g}, {t[1]:g}, {t[2]:g}) m of x right, y down, z forward; give the "
                "pose of the right optical frame in the left optical frame"
            )
        z = np.array([0.0, 0.0, 1.0]) + R[:, 2]  # between the two optical axes
        z -= (z @ x) * x
        z /= np.linalg.norm(z)
        R_rect_left = np.stack([x, np.cross(z, x), z])
        return cls(left, right, R_rect_left, R_rect_left @ R, baseline)

    @property
    def focal_baseline(self) -> float:
        """Disparity times depth, pixels times metres."""
        return float(self.left.K[0, 0]) * self.baseline

    def rectify_left(self, pixels: Array) -> Array:
        """Move undistorted pixels (N, 2) of the left camera into the rectified image."""
        return self._rectify(pixels, self.left, self.R_rect_left)

    def rectify_right(self, pixels: Array) -> Array:
        """Move undistorted pixels (N, 2) of the right camera into the rectified image."""
        return self._rectify(pixels, self.right, self.R_rect_right)

    def depth(
        self, rectified_left: Array, disparity: Array, disparity_sigma_px: Array | float
    ) -> tuple[Array, Array]:
        """Return depth along the left camera's own optical axis, and its standard deviation.

        Args:
            rectified_left: (N, 2), pixels of the rectified left image.
            disparity: (N,) positive, pixels.
            disparity_sigma_px: Standard deviation of `disparity`; one, or (N,).

        Returns:
            Two of (N,), metres: f b / d, turned back, and its change z^2 sigma_d / (f b).
        """
        turned_back = rays(rectified_left, self.left.K) @ self.R_rect_left[:, 2]
        depth = self.focal_baseline / disparity * turned_back
        return depth, depth / disparity * disparity_sigma_px

    def _rectify(self, pixels: Array, camera: Camera, R_rect_cam: Array) -> Array:
        directions = rays(pixels, camera.K) @ R_rect_cam.T
        K = self.left.K
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = directions[:, :2] / np.where(directions[:, 2:] > 0, directions[:, 2:], np.nan)
        return np.asarray(plane @ K[:2, :2].T + K[:2, 2], np.float64)


def _name(camera: Camera) -> str:
    return f"camera_info of frame '{camera.frame_id}'" if camera.frame_id else "camera_info"


def _check_baseline(baseline: float, where: str) -> None:
    if baseline < 0.0:
        raise CalibrationError(
            f"{where}: the right camera is {-baseline:g} m to the left of the left one: exchange "
            "the topics of left and right, or correct the calibration"
        )
    if baseline > _MAX_BASELINE:
        raise CalibrationError(
            f"{where}: the baseline is {baseline:g} m: it is to be in metres, not millimetres"
        )
