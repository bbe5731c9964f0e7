# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose of a frame from the local map: predict, match where landmarks should be, solve."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.pnp import (
    PnpConfig,
    PnpResult,
    refine_pose,
    solve_pnp,
)
from superpoint_ros.matching import MatchConfig, match, match_guided
from superpoint_ros.odometry.keyframes import NO_LANDMARK, Keyframe
from superpoint_ros.odometry.local_map import LocalMap
from superpoint_ros.odometry.rolling_shutter import (
    RollingShutterConfig,
    compensate_rolling_shutter,
    row_fractions,
)
from superpoint_ros.odometry.uncertainty import PoseSensitivity

MAX_GAP = 0.5  # seconds: over longer gaps a motion is not smooth


@dataclass(frozen=True)
class TrackingConfig(Config):
    """Search for the map's landmarks in a frame."""

    search_radius_px: float = option(
        40.0,
        "Reach around the place that the motion model predicts, pixels of a 640 wide image.",
        minimum=1.0,
        maximum=1000.0,
    )
    refined_radius_px: float = option(
        7.0,
        "Reach around the place that the first pose predicts, pixels of a 640 wide image.",
        minimum=1.0,
        maximum=100.0,
    )
    min_similarity: float = option(
        0.6,
        "Smallest cosine of a landmark's and a keypoint's descriptor.",
        minimum=-1.0,
        maximum=1.0,
    )
    max_ratio: float = option(
        0.95,
        "Largest ratio of best to second-best descriptor distance without prediction; 1: off.",
        minimum=0.0,
        maximum=1.0,
    )
    max_landmarks: int = option(
        1500, "Most landmarks searched for near the first pose.", minimum=50, maximum=100000
    )
    max_landmarks_wide: int = option(
        600, "Most landmarks searched for near the prediction.", minimum=50, maximum=100000
    )
    sure_share: float = option(
        0.25,
        "Below this share of the last keyframe's landmarks a pose found near the prediction has "
        "to compete with one found three times as far around it, and then without it.",
        minimum=0.0,
        maximum=1.0,
    )
    min_inliers: int = option(15, "Fewest landmarks that make a pose.", minimum=6, maximum=1000)
    relocalization_inliers: int = option(
        25, "Fewest landmarks that find a lost camera again.", minimum=6, maximum=1000
    )
    relocalization_keyframes: int = option(
        4, "Keyframes tried on each frame while lost.", minimum=1, maximum=100
    )
    pnp: PnpConfig = dataclasses.field(default_factory=PnpConfig)


@dataclass(frozen=True)
class TrackedFrame:
    """A frame with its pose.

    Attributes:
        observation: The frame, with the rolling shutter compensated.
        T_world_cam: (4, 4).
        sensitivity: What the pose's error is made of.
        landmark_ids: (N,) landmark of each keypoint that the pose explains, else `NO_LANDMARK`.
        matched_ids: (N,) the same with the outliers kept.
        spread: (2,) of the residuals, as in `PnpResult`.
    """

    observation: Observation
    T_world_cam: Array
    sensitivity: PoseSensitivity
    landmark_ids: Array
    matched_ids: Array
    spread: Array

    @property
    def num_inliers(self) -> int:
        """Landmarks that the pose explains."""
        return int((self.landmark_ids != NO_LANDMARK).sum())


class MotionModel:
    """Constant velocity: the twist of the last two poses goes on."""

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._T_world_cam = np.eye(4)
        self._twist = np.zeros(6)  # per second, camera frame

    def reset(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]

    def update(self, stamp_ns: int, T_world_cam: Array) -> None:
        """Take the pose of a frame."""
        self._twist = self.velocity_to(stamp_ns, T_world_cam)
        self._stamp_ns, self._T_world_cam = stamp_ns, T_world_cam

    @property
    def stamp_ns(self) -> int | None:
        """Time of the last pose; None if there is none."""
        return self._stamp_ns

    def seconds_to(self, stamp_ns: int) -> float:
        """Return the time from the last pose to `stamp_ns`, seconds; 0 if there is none."""
        return 0.0 if self._stamp_ns is None else 1e-9 * (stamp_ns - self._stamp_ns)

    def velocity_to(self, stamp_ns: int, T_world_cam: Array) -> Array:
        """Return the mean twist (6,) per second since the last pose; zeros if it is too old."""
        seconds = self.seconds_to(stamp_ns)
        if not 0.0 < seconds < MAX_GAP:
            return np.zeros(6)
        return se3.log(se3.inverse(self._T_world_cam) @ T_world_cam) / seconds

    def correct(self, T_new_old: Array) -> None:
        """Move the last pose with the map (`T_new_old` in the world), keeping the velocity."""
        self._T_world_cam = T_new_old @ self._T_world_cam

    @property
    def angular_velocity(self) -> Array:
        """Between the last two poses, camera frame, rad/s. (3,)."""
        return self._twist[3:].copy()

    def predict(self, stamp_ns: int) -> Array:
        """Return the expected pose (4, 4); after a gap the velocity is not believed."""
        if self._stamp_ns is None:
            return self._T_world_cam
        seconds = self.seconds_to(stamp_ns)
        if not 0.0 < seconds < MAX_GAP:
            return self._T_world_cam
        return np.asarray(self._T_world_cam @ se3.exp(seconds * self._twist), np.float64)


def track_local_map(
    observation: Observation,
    local_map: LocalMap,
    motion: MotionModel,
    shutter: RollingShutterConfig,
    config: TrackingConfig,
    reach: float = 1.0,
) -> TrackedFrame | None:
    """Find the pose of a frame near a predicted one.

    First a wide search around the prediction and a robust pose; then a narrow search around that
    pose with everything in view, and a refinement with depth. The rolling shutter is undone with
    the angular velocity that is known by then.

    Args:
        observation: The frame.
        local_map: Landmarks.
        motion: What predicts the pose.
        shutter: Of the camera.
        config: Radii and noise.
        reach: How many times the search radius to go.

    Returns:
        The frame; None if too few landmarks agree on a pose.
    """
    raw = observation
    observation = compensate_rolling_shutter(raw, shutter.readout * motion.angular_velocity)
    size_hw = observation.features.image_size_hw
    radius_px = reach * config.search_radius_px * size_hw[1] / 640.0
    undistorted = observation.pinhole_features
    T_world_cam_predicted = motion.predict(observation.stamp_ns)
    rows, predicted = _select(
        local_map,
        T_world_cam_predicted,
        observation,
        radius_px,
        config.max_landmarks_wide,
    )
    if len(rows) < config.min_inliers:
        return None
    pairs = match_guided(
        local_map.features_of(rows, predicted, size_hw),
        undistorted,
        predicted,
        radius_px,
        _match_config(config.min_similarity, config.max_ratio),
    )
    pose = _robust_pose(local_map.points[rows[pairs[:, 0]]], observation, pairs[:, 1], config)
    if pose is None:
        return None
    return _refine_from(raw, pose.T_world_cam, local_map, motion, shutter, config, count=True)


def _refine_from(
    raw: Observation,
    T_world_cam: Array,
    local_map: LocalMap,
    motion: MotionModel,
    shutter: RollingShutterConfig,
    config: TrackingConfig,
    count: bool = False,
) -> TrackedFrame | None:
    """Undo the rolling shutter with the velocity that leads to a first pose, and refine this."""
    angular_velocity = motion.velocity_to(raw.stamp_ns, T_world_cam)[3:]
    return refine_on_map(
        compensate_rolling_shutter(raw, shutter.readout * angular_velocity),
        local_map,
        T_world_cam,
        config,
        shutter.sigma(motion.seconds_to(raw.stamp_ns)),
        count,
    )


def refine_on_map(
    observation: Observation,
    local_map: LocalMap,
    T_world_cam: Array,
    config: TrackingConfig,
    shutter_sigma: float = 0.0,
    count: bool = False,
) -> TrackedFrame | None:
    """Match all landmarks in view within the narrow radius of a good pose, and refine it.

    Args:
        observation: The frame.
        local_map: Landmarks.
        T_world_cam: A pose right to a few pixels. (4, 4).
        config: Radii and noise.
        shutter_sigma: Freedom of the turn during the readout, radians; 0: none.
        count: Whether to book found and missed landmarks for the culling.
    """
    size_hw = observation.features.image_size_hw
    scale = size_hw[1] / 640.0
    undistorted = observation.pinhole_features
    rows, predicted = _select(local_map, T_world_cam, observation, 0.0, config.max_landmarks)
    if len(rows) < config.min_inliers:
        return None
    pairs = match_guided(
        local_map.features_of(rows, predicted, size_hw),
        undistorted,
        predicted,
        config.refined_radius_px * scale,
        _match_config(config.min_similarity, 1.0),
    )
    if len(pairs) < config.min_inliers:
        return None
    matched_rows, keypoints = rows[pairs[:, 0]], pairs[:, 1]
    pose = refine_pose(
        local_map.points[matched_rows],
        observation.pixels[keypoints],
        observation.K,
        T_world_cam,
        config.pnp,
        observation.depth[keypoints],
        observation.depth_sigma[keypoints],
        row_fractions(observation)[keypoints],
        shutter_sigma,
        local_map.noise.scale,
        local_map.point_covariance_of(matched_rows),
        local_map.noise.depth_follows_x,
        observation.stretch[keypoints],
        config.min_inliers,
    )
    if pose is None:
        return None
    observation = compensate_rolling_shutter(observation, pose.shutter_rotation)
    if count:
        local_map.count_sightings(rows, matched_rows[pose.inliers])
    matched_ids = np.full(len(observation.features), NO_LANDMARK, np.int64)
    matched_ids[keypoints] = local_map.ids[matched_rows]
    landmark_ids = np.full(len(observation.features), NO_LANDMARK, np.int64)
    landmark_ids[keypoints[pose.inliers]] = local_map.ids[matched_rows[pose.inliers]]
    return TrackedFrame(
        observation,
        pose.T_world_cam,
        PoseSensitivity(local_map.ids[matched_rows], keypoints, pose.to_landmarks, pose.to_noise),
        landmark_ids,
        matched_ids,
        pose.spread,
    )


def track_keyframe(
    observation: Observation,
    local_map: LocalMap,
    keyframe: Keyframe,
    motion: MotionModel,
    shutter: RollingShutterConfig,
    config: TrackingConfig,
    min_inliers: int,
) -> TrackedFrame | None:
    """Find the pose of a frame from the landmarks of one keyframe, with no idea where it is."""
    seen = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
    if len(seen) < min_inliers:
        return None
    pairs = match(
        keyframe.observation.features.take(seen),
        observation.features,
        _match_config(config.min_similarity, config.max_ratio),
    )
    finite = np.isfinite(observation.pixels[pairs[:, 1]]).all(axis=1)
    pairs = pairs[finite]
    rows = local_map.rows_of(keyframe.landmark_ids[seen[pairs[:, 0]]])
    pose = _robust_pose(local_map.points[rows], observation, pairs[:, 1], config)
    if pose is None:
        return None
    tracked = _refine_from(observation, pose.T_world_cam, local_map, motion, shutter, config)
    if tracked is None or tracked.num_inliers < min_inliers:
        return None
    return tracked


def _robust_pose(
    points_world: Array,
    observation: Observation,
    keypoints: Array,
    config: TrackingConfig,
) -> PnpResult | None:
    return solve_pnp(
        points_world,
        observation.pixels[keypoints],
        observation.K,
        config.pnp,
        observation.depth[keypoints],
        observation.depth_sigma[keypoints],
        observation.stretch[keypoints],
        max(6, config.min_inliers // 2),
    )


# Building a config checks its ranges, which takes longer than it should once per frame.
@functools.lru_cache(maxsize=8)
def _match_config(min_similarity: float, max_ratio: float) -> MatchConfig:
    return MatchConfig(min_similarity=min_similarity, max_ratio=max_ratio)


def _select(
    local_map: LocalMap,
    T_world_cam: Array,
    observation: Observation,
    margin_px: float,
    max_landmarks: int,
) -> tuple[Array, Array]:
    """Return rows and predicted pixels of the landmarks to search for, the best if too many."""
    visible = local_map.visible_from(T_world_cam, observation, margin_px)
    if len(visible.rows) <= max_landmarks:
        return visible.rows, visible.pixels
    best = np.sort(local_map.most_reliable(visible.rows, max_landmarks))
    return visible.rows[best], visible.pixels[best]
