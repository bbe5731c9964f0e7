# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras as sensor_msgs/CameraInfo describes them: intrinsics, distortion and its inverse.

`plumb_bob` and `rational_polynomial` (Brown-Conrady, 4, 5 or 8 coefficients under either name, as
drivers mix them) and `equidistant` (Kannala-Brandt, 4; `fisheye` is the same). The inverse is a
Newton iteration of our own, because OpenCV's fixed-point one neither converges at strong
distortion nor says so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from superpoint_ros.data import Array

_BROWN_CONRADY = (4, 5, 8, 12, 14)
_COEFFICIENTS = {
    "plumb_bob": _BROWN_CONRADY,
    "rational_polynomial": _BROWN_CONRADY,
    "equidistant": (4,),
}
_ALIASES = {"": "plumb_bob", "fisheye": "equidistant", "radtan": "plumb_bob"}
_WIDEST = np.radians(89.9)  # off the axis; beyond, no pinhole image goes
_RADII = 4000
_STEEPEST = 3.0  # distorted over undistorted radii, of a lens; steeper is only a pole
_OUTLINE_POINTS = 32  # of each side
_OUTLINE_HALVINGS = 12  # to a tenth of a pixel
_NEWTON_ITERATIONS = 20
_NEWTON_TOLERANCE = 1e-10  # on the normalised plane: 1e-7 px
_MIN_SHARE_WITH_RAY = 0.05  # of the pixels; the widest lenses see more
_MAX_RESIDUAL = 1e-6  # on the normalised plane: what did not get there has no inverse


class CalibrationError(ValueError):
    """A camera_info that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Camera:
    """One calibrated camera.

    Attributes:
        K: (3, 3) pinhole intrinsics of the raw image, pixels.
        distortion: Coefficients in the order of sensor_msgs/CameraInfo; empty: none.
        model: "plumb_bob", "rational_polynomial" or "equidistant".
        image_size_hw: (height, width), pixels; zeros if the message did not say.
        R_rect_cam: (3, 3) rectifying rotation of a stereo pair; identity for others.
        P: (3, 4) projection of the rectified image; P[0, 3] = -fx * baseline of a right camera.
        frame_id: Frame of the message's header.
    """

    K: Array
    distortion: Array = field(default_factory=lambda: np.zeros(0))
    model: str = "plumb_bob"
    image_size_hw: tuple[int, int] = (0, 0)
    R_rect_cam: Array = field(default_factory=lambda: np.eye(3))
    P: Array = field(default_factory=lambda: np.zeros((3, 4)))
    frame_id: str = ""

    def __post_init__(self) -> None:
        cure = "calibrate the camera (camera_calibration) or correct its calibration file"
        where = f"camera_info of frame '{self.frame_id}'" if self.frame_id else "camera_info"
        K = np.asarray(self.K, np.float64)
        distortion = np.asarray(self.distortion, np.float64).ravel()
        if K.shape != (3, 3) or not np.isfinite(K).all():
            raise CalibrationError(f"{where}: K holds NaN or is not 3x3; {cure}")
        if K[0, 0] <= 0.0 or K[1, 1] <= 0.0:
            raise CalibrationError(
                f"{where}: K has focal lengths {K[0, 0]:g}, {K[1, 1]:g}: the camera is not "
                f"calibrated; {cure}"
            )
        if not np.isfinite(distortion).all():
            raise CalibrationError(f"{where}: the distortion coefficients hold NaN; {cure}")
        if K[1, 0] or K[2, 0] or K[2, 1]:
            raise CalibrationError(
                f"{where}: K is not fx 0 cx, 0 fy cy, 0 0 1, row by row: is it written column by "
                f"column? {cure}"
            )
        if not K[2, 2]:
            K = K + np.diag([0.0, 0.0, 1.0])  # some drivers leave it out
        model = _ALIASES.get(self.model, self.model)
        if not distortion.any():
            distortion = distortion[:0]
        elif model not in _COEFFICIENTS:
            known = ", ".join(_COEFFICIENTS)
            raise CalibrationError(
                f"{where}: distortion model '{self.model}' is not one of {known}; recalibrate "
                "with one of them, or feed rectified images"
            )
        elif model == "equidistant" and not distortion[4:].any():
            distortion = distortion[:4]
        if distortion.size and len(distortion) not in _COEFFICIENTS[model]:
            counts = " or ".join(map(str, _COEFFICIENTS[model]))
            raise CalibrationError(
                f"{where}: {model} has {counts} coefficients, got {len(distortion)}; {cure}"
            )
        if distortion[8:].any():
            raise CalibrationError(
                f"{where}: thin-prism and tilt coefficients (beyond 8) are not supported; "
                "recalibrate with 8, or feed rectified images"
            )
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "model", model)

    @classmethod
    def from_message(cls, message: Any, is_rectified: bool = False) -> Camera:
        """Read a sensor_msgs/CameraInfo of ROS 1 or 2 (duck-typed).

        Args:
            message: Has the fields of a CameraInfo.
            is_rectified: Whether the images are those that image_proc makes (image_rect). Their
                camera_info is that of the raw ones: P holds for them, K, D and R do not.

        Raises:
            CalibrationError: Zero or NaN intrinsics, unknown model, wrong number of coefficients,
                or coefficients by which hardly a pixel has a ray.
        """

        def read(name: str) -> Array:
            value = getattr(message, name, None)
            if value is None:  # ROS 1 spells them K, D, R, P
                value = getattr(message, name.upper(), ())
            return np.asarray(value, np.float64).ravel()

        frame_id = str(getattr(getattr(message, "header", None), "frame_id", ""))
        K, R, P = read("k"), read("r"), read("p")
        if K.size != 9:
            raise CalibrationError(
                f"camera_info of frame '{frame_id}': K has {K.size} numbers, expected 9"
            )
        has_rotation = R.size == 9 and bool(R.any())
        distortion = read("d")
        if is_rectified:
            has_rotation, distortion = False, np.zeros(0)
            if P.size == 12 and P.reshape(3, 4)[0, 0] > 0.0:
                K = P.reshape(3, 4)[:, :3]
        to_image, image_size_hw = _read_window(message)
        camera = cls(
            K=to_image @ K.reshape(3, 3),
            distortion=distortion,
            model=str(message.distortion_model),
            image_size_hw=image_size_hw,
            R_rect_cam=R.reshape(3, 3) if has_rotation else np.eye(3),
            P=to_image @ P.reshape(3, 4) if P.size == 12 else np.zeros((3, 4)),
            frame_id=frame_id,
        )
        lens = camera.K.tobytes(), camera.distortion.tobytes(), camera.model
        if _share_with_ray(*lens, camera.image_size_hw) < _MIN_SHARE_WITH_RAY:
            raise CalibrationError(
                f"camera_info of frame '{frame_id}': by the distortion coefficients "
                f"{', '.join(f'{number:g}' for number in camera.distortion)} hardly a pixel has a "
                "ray; calibrate the camera (camera_calibration) or correct its calibration file"
            )
        return camera

    def undistort(self, pixels: Array) -> Array:
        """Move pixels of the raw image into the ideal pinhole image of the same `K`.

        Args:
            pixels: (N, 2), (x, y), raw image.

        Returns:
            (N, 2) float64; NaN where the model has no inverse (far outside the calibrated field).
        """
        pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
        if not self.distortion.size:
            return pixels.copy()
        return self._from_normalized(self._undistort_normalized(self._to_normalized(pixels)))

    def distort(self, pixels: Array) -> Array:
        """Move pixels of the ideal pinhole image into the raw image; inverse of `undistort`."""
        pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
        if not self.distortion.size:
            return pixels.copy()
        return self._from_normalized(self._distort_normalized(self._to_normalized(pixels))[0])

    def pixel_scale(self, pixels: Array) -> Array | None:
        """Return how many pixels of the pinhole image a pixel of the raw image is long.

        Undistortion stretches the image, by two and more near the border of a wide lens, and the
        noise of a keypoint with it. The stretch along the radius and across it differ; this is
        their geometric mean.

        Args:
            pixels: (N, 2), (x, y), of the pinhole image.

        Returns:
            (N,); one where a pixel is NaN. None without distortion.
        """
        if not self.distortion.size:
            return None
        with np.errstate(invalid="ignore"):
            J = self._distort_normalized(self._to_normalized(np.asarray(pixels, np.float64)))[1]
            determinant = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]
            return np.where(determinant > 0.0, np.abs(determinant) ** -0.5, 1.0)

    def outline(self, image_size_hw: tuple[int, int]) -> Array | None:
        """Return the border of the raw image in the pinhole image.

        A lens sees what the pinhole image of the same size does not hold: its corners come to lie
        outside of that.

        Args:
            image_size_hw: (height, width) of the raw image, pixels.

        Returns:
            (M, 2) pixels (x, y), in ascending order of the angle around the principal point. Where
            the model has no inverse at the border, the outermost place where it has one. None
            without distortion.
        """
        if not self.distortion.size:
            return None
        return _outline(
            self.K.tobytes(), self.distortion.tobytes(), self.model, tuple(image_size_hw)
        )

    def _to_normalized(self, pixels: Array) -> Array:
        y = (pixels[:, 1] - self.K[1, 2]) / self.K[1, 1]
        x = (pixels[:, 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        return np.column_stack([x, y])

    def _from_normalized(self, points: Array) -> Array:
        return np.asarray(points @ self.K[:2, :2].T + self.K[:2, 2], np.float64)

    def _distort_normalized(self, points: Array) -> tuple[Array, Array]:
        """Return distorted points (N, 2) and the Jacobian (N, 2, 2), both on the plane z = 1."""
        x, y = points[:, 0], points[:, 1]
        r2 = x * x + y * y
        if self.model == "equidistant":
            # x_d = x s(r), s = theta_d(theta) / r, theta = atan r.
            k1, k2, k3, k4 = self.distortion
            r = np.sqrt(r2)
            theta = np.arctan(r)
            t2 = theta * theta
            theta_d = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            near = r < 1e-8
            safe_r = np.where(near, 1.0, r)
            scale = np.where(near, 1.0, theta_d / safe_r)
            # ds/d(r^2) = (slope / (1 + r^2) - s) / (2 r^2)
            d_scale = np.where(near, 0.0, (slope / (1 + r2) - scale) / (2 * safe_r**2))
            tangential = np.zeros((len(points), 2))
            d_tangential = np.zeros((len(points), 2, 2))
        else:
            k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(self.distortion[:8], (0, 8))[:8]
            top = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
            bottom = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
            d_top = k1 + r2 * (2 * k2 + r2 * 3 * k3)
            d_bottom = k4 + r2 * (2 * k5 + r2 * 3 * k6)
            scale = top / bottom
            d_scale = (d_top - scale * d_bottom) / bottom
            tangential = np.column_stack(
                [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
            )
            cross = 2 * p1 * x + 2 * p2 * y
            d_tangential = np.empty((len(points), 2, 2))
            d_tangential[:, 0, 0] = 2 * p1 * y + 6 * p2 * x
            d_tangential[:, 0, 1] = d_tangential[:, 1, 0] = cross
            d_tangential[:, 1, 1] = 6 * p1 * y + 2 * p2 * x
        J = d_tangential
        J[:, 0, 0] += scale + 2 * d_scale * x * x
        J[:, 1, 1] += scale + 2 * d_scale * y * y
        J[:, 0, 1] += 2 * d_scale * x * y
        J[:, 1, 0] += 2 * d_scale * x * y
        return points * scale[:, None] + tangential, J

    def _undistort_normalized(self, target: Array) -> Array:
        radii, reached = _radial_table(self.distortion.tobytes(), self.model)
        reach = np.linalg.norm(target, axis=1)
        start = np.interp(reach, reached, radii) / np.where(reach > 1e-8, reach, 1.0)
        points = target * np.where(reach > 1e-8, start, 1.0)[:, None]
        residual = np.full(len(points), np.inf)
        with np.errstate(all="ignore"):
            for _ in range(_NEWTON_ITERATIONS):
                distorted, J = self._distort_normalized(points)
                error = distorted - target
                residual = np.abs(error).max(axis=1, initial=0.0)
                if not (residual > _NEWTON_TOLERANCE).any():
                    break
                determinant = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]
                step_x = (J[:, 1, 1] * error[:, 0] - J[:, 0, 1] * error[:, 1]) / determinant
                step_y = (J[:, 0, 0] * error[:, 1] - J[:, 1, 0] * error[:, 0]) / determinant
                points -= np.column_stack([step_x, step_y])
            # A root beyond the fold of the polynomial is not the pixel's ray.
            folded = np.linalg.norm(points, axis=1) > radii[-1]
        points[folded | ~(residual < _MAX_RESIDUAL)] = np.nan
        return points


def _read_window(message: Any) -> tuple[Array, tuple[int, int]]:
    """Return what part of the sensor the images hold, by `roi` and `binning` of a CameraInfo.

    K, P, width and height of the message are those of the whole sensor.

    Returns:
        (3, 3) pixels of the whole sensor to pixels of the image, and the image's (height, width).
        A binned pixel is centred on those it sums.
    """
    left, top, height, width = 0, 0, int(message.height), int(message.width)
    roi = getattr(message, "roi", None)
    if roi is not None and roi.width and roi.height:  # zeros: the whole image
        left, top, height, width = map(int, (roi.x_offset, roi.y_offset, roi.height, roi.width))
    bins_x = max(int(getattr(message, "binning_x", 0)), 1)
    bins_y = max(int(getattr(message, "binning_y", 0)), 1)
    to_image = np.array(
        [
            [1.0 / bins_x, 0.0, -(left + 0.5 * (bins_x - 1)) / bins_x],
            [0.0, 1.0 / bins_y, -(top + 0.5 * (bins_y - 1)) / bins_y],
            [0.0, 0.0, 1.0],
        ]
    )
    return to_image, (height // bins_y, width // bins_x)


# Nodes make the camera anew with every camera_info; the outline is that of a calibration.
@functools.lru_cache(maxsize=8)
def _outline(K: bytes, distortion: bytes, model: str, image_size_hw: tuple[int, int]) -> Array:
    camera = Camera(np.frombuffer(K).reshape(3, 3), np.frombuffer(distortion), model)
    height, width = image_size_hw
    along = np.linspace(0.0, 1.0, _OUTLINE_POINTS, endpoint=False)
    zeros, ones = np.zeros_like(along), np.ones_like(along)
    sides = [(along, zeros), (ones, along), (1.0 - along, ones), (zeros, 1.0 - along)]
    border = np.concatenate([np.column_stack(side) for side in sides]) * [width - 1, height - 1]
    centre = camera.K[:2, 2]
    outline = camera.undistort(border)
    # Where the border has no ray, halve the way to it until the last place that has one is found.
    without = np.flatnonzero(~np.isfinite(outline).all(axis=1))
    outline[without] = centre
    low, high = np.zeros((len(without), 1)), np.ones((len(without), 1))
    for _ in range(_OUTLINE_HALVINGS if len(without) else 0):
        share = 0.5 * (low + high)
        there = camera.undistort(centre + share * (border[without] - centre))
        has_ray = np.isfinite(there).all(axis=1, keepdims=True)
        outline[without] = np.where(has_ray, there, outline[without])
        low, high = np.where(has_ray, share, low), np.where(has_ray, high, share)
    towards = outline - centre
    return np.asarray(outline[np.argsort(np.arctan2(towards[:, 1], towards[:, 0]))])


@functools.lru_cache(maxsize=8)
def _share_with_ray(
    K: bytes, distortion: bytes, model: str, image_size_hw: tuple[int, int]
) -> float:
    """Return the share of the image's pixels that the model has an inverse for."""
    camera = Camera(np.frombuffer(K).reshape(3, 3), np.frombuffer(distortion), model)
    height, width = image_size_hw
    x, y = np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 12))
    rays = camera.undistort(np.column_stack([x.ravel(), y.ravel()]))
    return float(np.isfinite(rays).all(axis=1).mean())


@functools.lru_cache(maxsize=8)
def _radial_table(distortion: bytes, model: str) -> tuple[Array, Array]:
    """Return radii on the plane z = 1 and where the lens puts them, up to where it turns back.

    It tells where Newton's iteration is to start: from the distorted point itself, the usual
    choice, it misses rays near the fold that are there. A rational model may have a pole. Where
    only its surroundings are steep, as in calibrations of the OAK-D, the table leaps over them;
    where the pixels end before it, so does the table.
    """
    coefficients = np.array(np.frombuffer(distortion))
    if model != "equidistant":
        coefficients[2:4] = 0.0  # tangential: small, and not along the radius
    camera = Camera(np.eye(3), coefficients, model)
    points = np.zeros((_RADII, 2))
    points[:, 0] = np.tan(np.linspace(0.0, _WIDEST, _RADII))
    with np.errstate(all="ignore"):
        if camera.distortion.size:
            reached, J = camera._distort_normalized(points)
        else:
            reached, J = points, np.tile(np.eye(2), (_RADII, 1, 1))
    slope = J[:, 0, 0]
    ends = np.flatnonzero(~(slope > 0.0))
    count = int(ends[0]) if len(ends) else _RADII
    radii, reached = points[:count, 0], reached[:count, 0]
    if not (np.diff(reached) > 0.0).all():  # a pole
        passes = slope[:count] < _STEEPEST
        radii, reached = radii[passes], reached[passes]
        is_farther = np.append(True, reached[1:] > np.maximum.accumulate(reached)[:-1])
        radii, reached = radii[is_farther], reached[is_farther]
    return radii, reached
