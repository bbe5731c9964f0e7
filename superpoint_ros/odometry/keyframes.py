# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that the map keeps, and when one is due."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3

NO_LANDMARK = -1
# What it takes at the latest of the motion that makes a keyframe due at once. Keyframes of a
# camera that stands still tell the depth of nothing, and push those that do out of the map: a
# mono map would lose its scale.
_LEAST_SHARE = 0.125  # one degree, or one per cent of the depth


@dataclass(frozen=True)
class KeyframeConfig(Config):
    """When a frame becomes a keyframe."""

    tracked_ratio: float = option(
        0.75,
        "A keyframe is due when fewer than this share of the last one's landmarks is tracked.",
        minimum=0.05,
        maximum=1.0,
    )
    min_interval: int = option(2, "Fewest frames between keyframes.", minimum=1, maximum=1000)
    max_interval: int = option(
        20,
        "Frames after which an eighth of max_rotation_deg or max_translation_ratio makes a "
        "keyframe due.",
        minimum=1,
        maximum=100000,
    )
    max_rotation_deg: float = option(
        8.0, "Turn since the last keyframe that makes one due, degrees.", minimum=0.1, maximum=90.0
    )
    max_translation_ratio: float = option(
        0.08,
        "Way since the last keyframe that makes one due, as a share of the median depth.",
        minimum=0.001,
        maximum=10.0,
    )


@dataclass
class Keyframe:
    """A frame in the map: pose and landmark links change, the observation does not.

    Attributes:
        index: Counts keyframes of the run.
        observation: What was seen.
        T_world_cam: (4, 4), current estimate.
        landmark_ids: (N,) int64, the landmark of every keypoint, `NO_LANDMARK` for none.
        num_tracked: Landmarks that this frame saw when it became a keyframe.
        error_samples: (6, S) errors of the pose, see `uncertainty`.
        noise: (N, 3, S) draws of the keypoints' noise, in units of its standard deviation.
    """

    index: int
    observation: Observation
    T_world_cam: Array
    landmark_ids: Array
    num_tracked: int
    error_samples: Array
    noise: Array

    @property
    def stamp_ns(self) -> int:
        """Time of the image."""
        return self.observation.stamp_ns


def is_keyframe_due(
    config: KeyframeConfig,
    reference: Keyframe,
    T_world_cam: Array,
    num_inliers: int,
    frames_since: int,
    median_depth: float,
) -> bool:
    """Return whether the frame at `T_world_cam` should become a keyframe.

    Args:
        config: Thresholds.
        reference: The last keyframe.
        T_world_cam: Pose of the frame. (4, 4).
        num_inliers: Landmarks it tracks.
        frames_since: Frames since the last keyframe.
        median_depth: Of its landmarks, metres (or map units).
    """
    if frames_since < config.min_interval:
        return False
    if num_inliers < config.tracked_ratio * reference.num_tracked:
        return True
    motion = se3.log(se3.inverse(reference.T_world_cam) @ T_world_cam)
    turn_deg = float(np.degrees(np.linalg.norm(motion[3:])))
    way = float(np.linalg.norm(motion[:3]))
    share = 1.0 if frames_since < config.max_interval else _LEAST_SHARE
    return (
        turn_deg > share * config.max_rotation_deg
        or way > share * config.max_translation_ratio * median_depth
    )


def common_landmarks(ids_a: Array, ids_b: Array) -> tuple[Array, Array]:
    """Return the positions in a and in b of the landmarks that both hold."""
    keypoints_a = np.flatnonzero(ids_a != NO_LANDMARK)
    keypoints_b = np.flatnonzero(ids_b != NO_LANDMARK)
    _, in_a, in_b = np.intersect1d(ids_a[keypoints_a], ids_b[keypoints_b], return_indices=True)
    return keypoints_a[in_a], keypoints_b[in_b]
