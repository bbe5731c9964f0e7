# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The nouns: what moves from the image to the pose. Small, immutable, NumPy only.

Pixels: (x, y), the centre of the top-left pixel is (0, 0). Poses: `T_world_cam` takes points of
the optical camera frame (x right, y down, z forward) to the world. Units: metres, nanoseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Features:
    """Keypoints of one image.

    Attributes:
        keypoints: (N, 2) float32, (x, y) in pixels of the original (raw, distorted) image.
        scores: (N,) float32 in [0, 1], high to low.
        descriptors: (N, D) float32, unit length.
        image_size_hw: (height, width) of the image, pixels.
    """

    keypoints: Array
    scores: Array
    descriptors: Array
    image_size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        n = len(self.keypoints)
        if self.keypoints.shape != (n, 2) or self.scores.shape != (n,):
            raise ValueError(
                f"keypoints {self.keypoints.shape} and scores {self.scores.shape} must be "
                "(N, 2) and (N,)"
            )
        if self.descriptors.ndim != 2 or len(self.descriptors) != n:
            raise ValueError(f"descriptors {self.descriptors.shape} must be ({n}, D)")

    def __len__(self) -> int:
        return len(self.keypoints)

    def take(self, indices: Array) -> Features:
        """Return the features at `indices` (integers or a boolean mask)."""
        return Features(
            self.keypoints[indices],
            self.scores[indices],
            self.descriptors[indices],
            self.image_size_hw,
        )


@dataclass(frozen=True)
class Matches:
    """Correspondences of a frame with its reference frame.

    Attributes:
        indices: (M, 2) int64, index into the reference's keypoints and into the frame's.
        inliers: (M,) bool, whether the estimated motion explains the pair.
        reference_stamp_ns: Stamp of the reference frame.
        reference_keypoints: (K, 2) float32, all keypoints of the reference, pixels.
    """

    indices: Array
    inliers: Array
    reference_stamp_ns: int
    reference_keypoints: Array


@dataclass(frozen=True)
class Observation:
    """What one frame tells the odometry, whatever the sensor.

    Attributes:
        stamp_ns: Time of the image.
        features: Keypoints and descriptors of the (left) image.
        pixels: (N, 2) float64, the keypoints undistorted into the pinhole image of `K`.
        depth: (N,) float64, metres along the optical axis; NaN where unknown.
        K: (3, 3) float64 pinhole intrinsics, pixels.
        depth_sigma: (N,) float64, standard deviation of `depth`, metres; NaN where unknown.
        outline: (M, 2) float64, the border of the image undistorted likewise, in ascending order
            of the angle around the principal point; None: as without distortion.
        pixel_scale: (N,) float64, how many pixels of the pinhole image a pixel of the raw one is
            long at each keypoint; None: one, as without distortion. The odometry makes it larger
            where a keypoint's score says that it errs more.
        right_scores: (N,) float32, score of the keypoint of the right image that `depth` comes
            from; NaN where there is none. None: not a stereo camera.
    """

    stamp_ns: int
    features: Features
    pixels: Array
    depth: Array
    K: Array
    depth_sigma: Array
    outline: Array | None = None
    pixel_scale: Array | None = None
    right_scores: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.pixels.shape != (n, 2) or self.depth.shape != (n,) or self.K.shape != (3, 3):
            raise ValueError(
                f"pixels {self.pixels.shape}, depth {self.depth.shape} and K {self.K.shape} must "
                f"be ({n}, 2), ({n},) and (3, 3)"
            )
        if self.depth_sigma.shape != (n,):
            raise ValueError(f"depth_sigma {self.depth_sigma.shape} must be ({n},)")

    @property
    def stretch(self) -> Array:
        """(N,) float64, `pixel_scale`, and ones without distortion."""
        return np.ones(len(self.features)) if self.pixel_scale is None else self.pixel_scale

    @property
    def pinhole_features(self) -> Features:
        """The features with their keypoints in the pinhole image, where predictions live."""
        return replace(self.features, keypoints=self.pixels.astype(np.float32))


class TrackingState(enum.IntEnum):
    """State of the odometry; PAUSED belongs to the node."""

    INITIALIZING = 0
    TRACKING = 1
    LOST = 2
    PAUSED = 3


@dataclass(frozen=True)
class TrackingResult:
    """What the odometry says about one frame.

    Attributes:
        stamp_ns: Time of the frame.
        state: State after this frame.
        T_world_cam: (4, 4) pose; None if there is none for this frame.
        covariance: (6, 6) of the pose in the world, drift since the start included; tangent
            vector (translation, rotation), metres and radians, on the right as in `geometry.se3`:
            T_world_cam = T_true @ exp(xi). None if there is no pose.
        twist: (6,) mean velocity since the last frame, translation then rotation, axes of the
            camera, m/s and rad/s; None without a recent frame.
        twist_covariance: (6, 6) of `twist`; None with it.
        H_b_a: (3, 3) pixels of the reference frame to pixels of this frame (homography mode);
            determinant 1.
        H_b_0: (3, 3) pixels of the first frame to pixels of this frame, chained over references;
            determinant 1.
        matches: Pairs with the reference frame; None if there were none to be had.
        is_keyframe: Whether this frame became a keyframe (homography mode: the new reference).
        num_inliers: Correspondences that the pose explains.
        num_landmarks: Landmarks in the local map.
        num_keyframes: Keyframes in the local map.
        map_id: Counts fresh starts of the map: two poses compare only if their map_id agrees.
        latency_ms: Stage name to wall time, milliseconds.
    """

    stamp_ns: int
    state: TrackingState
    T_world_cam: Array | None = None
    covariance: Array | None = None
    twist: Array | None = None
    twist_covariance: Array | None = None
    H_b_a: Array | None = None
    H_b_0: Array | None = None
    matches: Matches | None = None
    is_keyframe: bool = False
    num_inliers: int = 0
    num_landmarks: int = 0
    num_keyframes: int = 0
    map_id: int = 0
    latency_ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
