# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sensors differ here and only here: each becomes keypoints with depth, NaN where unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.stereo import StereoPair
from superpoint_ros.matching import MatchConfig, match_along_rows


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
    sigma_relative: float = option(
        0.02,
        "Error of calibration and registration, as a share of depth (RealSense D4xx: 2 % by its "
        "data sheet); 0: none.",
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum >= self.maximum:
            raise ConfigError(
                f"depth.minimum: {self.minimum:g} m is not below the maximum {self.maximum:g} m"
            )

    def sigma(self, depth: Array) -> Array:
        """Return the standard deviation of `depth`, metres.

        Noise after Khoshelham and Elberink (2012), and beside it what no average takes away.
        Without that, hundreds of points would fix the distance to a millimetre that the sensor
        does not know, and the camera would turn and shift to please them.
        """
        noise = self.sigma_floor + self.sigma_quadratic * (
            np.maximum(depth - self.sigma_offset, 0.0) ** 2
        )
        return np.asarray(np.hypot(noise, self.sigma_relative * depth), np.float64)


@dataclass(frozen=True)
class StereoConfig(Config):
    """From two images to depth."""

    T_left_right: tuple[float, ...] = option(
        (),
        "x y z qx qy qz qw of the right optical frame in the left, metres; empty: both "
        "camera_info tell (R, and P[0, 3] = -fx * baseline). ROS cannot read [] in a parameter "
        "file: leave the line out.",
    )
    minimum: float = option(0.25, "Nearest depth looked for, metres.", minimum=0.01)
    min_disparity_px: float = option(
        5.0,
        "Smallest disparity that gives a depth, pixels; farther points are left to two views.",
        minimum=0.1,
        maximum=1000.0,
    )
    max_row_error_px: float = option(
        2.0,
        "Half the height of the epipolar band that is searched, pixels.",
        minimum=0.1,
        maximum=100.0,
    )
    min_similarity: float = option(
        0.7, "Smallest cosine of the two descriptors.", minimum=-1.0, maximum=1.0
    )
    max_ratio: float = option(
        0.95,
        "Largest ratio of best to second-best descriptor distance in the band; 1: off.",
        minimum=0.0,
        maximum=1.0,
    )
    disparity_sigma_px: float = option(
        1.0, "Standard deviation of a disparity, pixels.", minimum=0.01, maximum=20.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.T_left_right) not in (0, 7):
            raise ConfigError(
                "T_left_right: expected 7 numbers (x y z qx qy qz qw), got "
                f"{len(self.T_left_right)}"
            )
        if self.T_left_right and not abs(np.linalg.norm(self.T_left_right[3:]) - 1.0) < 0.01:
            raise ConfigError(
                "T_left_right: the quaternion (last four numbers, x y z w) is not of length 1"
            )


def make_stereo_pair(left: Camera, right: Camera, config: StereoConfig) -> StereoPair:
    """Return the geometry of two calibrated cameras.

    Raises:
        CalibrationError: No baseline, or one that cannot be.
    """
    values = config.T_left_right
    if not values:
        return StereoPair.from_cameras(left, right)
    T_left_right = se3.pose_from_quaternion(np.array(values[:3]), np.array(values[3:]))
    return StereoPair.from_extrinsics(left, right, T_left_right)


def make_stereo_observation(
    stamp_ns: int,
    features_left: Features,
    features_right: Features,
    pair: StereoPair,
    config: StereoConfig | None = None,
) -> Observation:
    """Turn the features of both images into an observation of the left camera.

    A left and a right keypoint match if they lie on one row of the rectified images, at a
    disparity that a point in range has, and if each is the other's most similar there.

    Args:
        stamp_ns: Time of the left image.
        features_left: Keypoints of the raw left image.
        features_right: Keypoints of the raw right image.
        pair: From `make_stereo_pair`.
        config: Search and noise.

    Returns:
        Pixels and depth in the left camera as it is, not as rectified: the pose is that of its
        own optical frame.
    """
    config = config or StereoConfig()
    pixels = pair.left.undistort(features_left.keypoints)
    pixel_scale = pair.left.pixel_scale(pixels)
    rectified_left = pair.rectify_left(pixels)
    rectified_right = pair.rectify_right(pair.right.undistort(features_right.keypoints))
    pairs = match_along_rows(
        features_left,
        features_right,
        rectified_left,
        rectified_right,
        config.max_row_error_px,
        (config.min_disparity_px, pair.focal_baseline / config.minimum),
        MatchConfig(min_similarity=config.min_similarity, max_ratio=config.max_ratio),
    )
    of_left, of_right = pairs.T
    disparity = rectified_left[of_left, 0] - rectified_right[of_right, 0]
    depth = np.full(len(features_left), np.nan)
    depth_sigma = np.full(len(features_left), np.nan)
    right_scores = np.full(len(features_left), np.nan, np.float32)
    right_scores[of_left] = features_right.scores[of_right]
    sigma_px = np.full(len(pairs), config.disparity_sigma_px)
    if pixel_scale is not None:
        sigma_px *= pixel_scale[of_left]
    depth[of_left], depth_sigma[of_left] = pair.depth(rectified_left[of_left], disparity, sigma_px)
    return Observation(
        stamp_ns=int(stamp_ns),
        features=features_left,
        pixels=pixels,
        depth=depth,
        K=pair.left.K,
        depth_sigma=depth_sigma,
        outline=pair.left.outline(features_left.image_size_hw),
        pixel_scale=pixel_scale,
        right_scores=right_scores,
    )


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
    config = config or DepthConfig()
    if depth_image is None:
        depth = np.full(len(features), np.nan)
    else:
        if depth_image.shape != tuple(features.image_size_hw):
            height, width = features.image_size_hw
            raise ValueError(
                f"depth image is {depth_image.shape[1]}x{depth_image.shape[0]} but the image is "
                f"{width}x{height}: register the depth to the image (depth_image_proc/register)"
            )
        depth = sample_depth(depth_image, features.keypoints, config)
    pixels = camera.undistort(features.keypoints)
    return Observation(
        stamp_ns=int(stamp_ns),
        features=features,
        pixels=pixels,
        depth=depth,
        K=camera.K,
        depth_sigma=config.sigma(depth),
        outline=camera.outline(features.image_size_hw),
        pixel_scale=camera.pixel_scale(pixels),
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
