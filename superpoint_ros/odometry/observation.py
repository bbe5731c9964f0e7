# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sensors differ here and only here: each becomes keypoints with depth, NaN where unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry.camera import Camera


@dataclass(frozen=True)
class DepthConfig(Config):
    """How far a measured depth is trusted; the defaults are those of a Kinect-like sensor."""

    minimum: float = option(0.1, "Nearest depth used, metres.", minimum=0.0)
    maximum: float = option(10.0, "Farthest depth used, metres.", minimum=0.1)
    edge_ratio: float = option(
        0.05,
        "Depth is refused where it varies by more than this share in the keypoint's 5x5 patch.",
        minimum=0.0,
        maximum=1.0,
    )
    sigma_floor: float = option(0.0012, "Noise near the sensor, metres.", minimum=1.0e-6)
    sigma_quadratic: float = option(
        0.0019, "Growth of the noise with the square of depth, 1/metre.", minimum=0.0
    )
    sigma_offset: float = option(
        0.4, "Depth at which the quadratic term is zero, metres.", minimum=0.0
    )

    def sigma(self, depth: Array) -> Array:
        """Return the standard deviation of `depth`, metres (Khoshelham and Elberink, 2012)."""
        excess = np.maximum(depth - self.sigma_offset, 0.0)
        return np.asarray(self.sigma_floor + self.sigma_quadratic * excess**2, np.float64)


def make_observation(
    stamp_ns: int,
    features: Features,
    camera: Camera,
    depth_image: Array | None = None,
    config: DepthConfig | None = None,
) -> Observation:
    """Turn one frame of a mono or RGB-D camera into an observation.

    Args:
        stamp_ns: Time of the image.
        features: Keypoints of the raw image.
        camera: Calibration of the raw image.
        depth_image: Depth registered to the raw image, metres, NaN or 0 where unknown. (H, W).
        config: Which depths to trust.

    Raises:
        ValueError: The depth image is of another size than the image of the features.
    """
    if depth_image is None:
        depth = np.full(len(features), np.nan)
    else:
        if depth_image.shape != tuple(features.image_size_hw):
            height, width = features.image_size_hw
            raise ValueError(
                f"depth image is {depth_image.shape[1]}x{depth_image.shape[0]} but the image is "
                f"{width}x{height}: register the depth to the image (depth_image_proc/register)"
            )
        depth = sample_depth(depth_image, features.keypoints, config or DepthConfig())
    return Observation(
        stamp_ns=int(stamp_ns),
        features=features,
        pixels=camera.undistort(features.keypoints),
        depth=depth,
        K=camera.K,
    )


def sample_depth(depth_image: Array, keypoints: Array, config: DepthConfig) -> Array:
    """Look depth up between pixels without mixing two surfaces.

    Inverse depth is interpolated bilinearly, which is exact on planes. A keypoint gets NaN where
    one of its four neighbours is a hole, where the 5x5 patch around it spans a depth edge, or
    outside the trusted range.

    Args:
        depth_image: (H, W), metres, NaN or 0 where unknown.
        keypoints: (N, 2), (x, y), pixels of the same image.
        config: Thresholds.

    Returns:
        (N,) float64, metres.
    """
    height, width = depth_image.shape
    x, y = np.asarray(keypoints[:, 0], np.float64), np.asarray(keypoints[:, 1], np.float64)
    left = np.clip(np.floor(x).astype(np.int64), 0, max(width - 2, 0))
    top = np.clip(np.floor(y).astype(np.int64), 0, max(height - 2, 0))
    offsets = np.arange(-2, 3)
    rows = np.clip(np.rint(y).astype(np.int64)[:, None] + offsets, 0, height - 1)
    columns = np.clip(np.rint(x).astype(np.int64)[:, None] + offsets, 0, width - 1)
    patches = depth_image[rows[:, :, None], columns[:, None, :]].reshape(len(x), 25)
    known = np.isfinite(patches) & (patches > 0.0)
    nearest = np.where(known, patches, np.inf).min(axis=1)
    farthest = np.where(known, patches, -np.inf).max(axis=1)

    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    corners = np.stack(
        [
            depth_image[top, left],
            depth_image[top, right],
            depth_image[bottom, left],
            depth_image[bottom, right],
        ]
    ).astype(np.float64)
    fx, fy = np.clip(x - left, 0.0, 1.0), np.clip(y - top, 0.0, 1.0)
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    whole = (np.isfinite(corners) & (corners > 0.0)).all(axis=0)
    inverse = (weights / np.where(whole, corners, 1.0)).sum(axis=0)
    depth = 1.0 / np.maximum(inverse, 1e-9)
    with np.errstate(invalid="ignore"):
        smooth = farthest - nearest <= config.edge_ratio * nearest
    trusted = whole & smooth & (depth >= config.minimum) & (depth <= config.maximum)
    return np.where(trusted, depth, np.nan)
