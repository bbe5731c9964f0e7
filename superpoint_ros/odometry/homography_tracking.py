# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The homography mode: planar scenes, each frame against a reference, references chained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Matches, Observation, TrackingResult, TrackingState
from superpoint_ros.geometry.homography import (
    HomographyConfig,
    HomographyResult,
    estimate_homography,
    unit_homography,
    warp_points,
)
from superpoint_ros.matching import MatchConfig, match_guided
from superpoint_ros.odometry.initialization import match_finite
from superpoint_ros.profiling import Stopwatch


@dataclass(frozen=True)
class HomographyTrackingConfig(Config):
    """Tracking of a plane."""

    search_radius_px: float = option(
        40.0,
        "Reach around the place that the last frame's homography predicts, pixels of a 640 wide "
        "image.",
        minimum=1.0,
        maximum=1000.0,
    )
    min_similarity: float = option(
        0.5, "Smallest cosine of two descriptors.", minimum=-1.0, maximum=1.0
    )
    min_inlier_share: float = option(
        0.4,
        "A new reference is taken when fewer than this share of its first inliers is left.",
        minimum=0.0,
        maximum=1.0,
    )
    min_overlap: float = option(
        0.5,
        "A new reference is taken when less than this share of it lies in the frame.",
        minimum=0.0,
        maximum=1.0,
    )
    estimation: HomographyConfig = dataclasses.field(default_factory=HomographyConfig)


class HomographyTracker:
    """Tracks a plane over frames."""

    def __init__(self, config: HomographyTrackingConfig, max_lost_frames: int) -> None:
        self._config = config
        self._max_lost_frames = max_lost_frames
        self._map_id = 0
        self.reset()

    @property
    def state(self) -> TrackingState:
        """State after the last frame."""
        return self._state

    def reset(self) -> None:
        """Forget the reference; the next frame is the first."""
        self._state = TrackingState.INITIALIZING
        self._reference: Observation | None = None
        self._H_ref_0 = np.eye(3)
        self._H_last_ref = np.eye(3)
        self._last: Observation | None = None  # newest frame that was tracked
        self._first_inliers = 0
        self._lost_frames = 0

    def start_new_map(self) -> None:
        """Forget everything and count a new map."""
        self.reset()
        self._map_id += 1

    def track(self, observation: Observation, watch: Stopwatch) -> TrackingResult:
        """Find the homography from the reference to this frame."""
        if self._reference is None:
            return self._take_first(observation, watch)
        found = self._find(observation, watch)
        if found is None and self._last is not None and self._last is not self._reference:
            # The reference may be out of sight: the newest frame that held is the next best.
            found = self._find_from_last(observation, watch)
        if found is None:
            return self._miss(observation, watch)
        pairs, result = found
        self._lost_frames = 0
        self._state = TrackingState.TRACKING
        num_inliers = int(result.inliers.sum())
        self._first_inliers = max(self._first_inliers, num_inliers)
        H_b_a, reference = result.H_b_a, self._reference
        H_b_0 = unit_homography(H_b_a @ self._H_ref_0)
        is_new_reference = (
            num_inliers < self._config.min_inlier_share * self._first_inliers
            or overlap(H_b_a, observation.features.image_size_hw) < self._config.min_overlap
        )
        self._last, self._H_last_ref = observation, H_b_a
        if is_new_reference:
            self._anchor(observation, H_b_0)
        return TrackingResult(
            stamp_ns=observation.stamp_ns,
            state=self._state,
            H_b_a=H_b_a,
            H_b_0=H_b_0,
            matches=Matches(
                pairs, result.inliers, reference.stamp_ns, reference.features.keypoints
            ),
            is_keyframe=is_new_reference,
            num_inliers=num_inliers,
            num_keyframes=1,
            map_id=self._map_id,
            latency_ms=dict(watch.latency_ms),
        )

    def _take_first(self, observation: Observation, watch: Stopwatch) -> TrackingResult:
        latency_ms = dict(watch.latency_ms)
        if _num_usable(observation) < self._config.estimation.min_inliers:
            return TrackingResult(
                observation.stamp_ns, self._state, map_id=self._map_id, latency_ms=latency_ms
            )
        self._anchor(observation, np.eye(3))
        self._state = TrackingState.TRACKING
        return TrackingResult(
            stamp_ns=observation.stamp_ns,
            state=self._state,
            H_b_a=np.eye(3),
            H_b_0=np.eye(3),
            is_keyframe=True,
            num_keyframes=1,
            map_id=self._map_id,
            latency_ms=latency_ms,
        )

    def _miss(self, observation: Observation, watch: Stopwatch) -> TrackingResult:
        if _num_usable(observation) >= self._config.estimation.min_inliers:
            self._lost_frames += 1  # a dark frame does not speak against the reference
        self._state = TrackingState.LOST
        if self._lost_frames > self._max_lost_frames:
            self.start_new_map()
            return self._take_first(observation, watch)
        return TrackingResult(
            observation.stamp_ns,
            self._state,
            num_keyframes=1,
            map_id=self._map_id,
            latency_ms=dict(watch.latency_ms),
        )

    def _anchor(self, observation: Observation, H_b_0: Array) -> None:
        self._reference = self._last = observation
        self._H_ref_0, self._H_last_ref = H_b_0, np.eye(3)
        self._first_inliers = 0

    def _find(
        self, observation: Observation, watch: Stopwatch
    ) -> tuple[Array, HomographyResult] | None:
        assert self._reference is not None
        reference = self._reference
        with watch.stage("match"):
            pairs = np.empty((0, 2), np.int64)
            matching = MatchConfig(min_similarity=self._config.min_similarity)
            if self._state == TrackingState.TRACKING:
                radius = self._config.search_radius_px * (
                    observation.features.image_size_hw[1] / 640.0
                )
                predicted = warp_points(self._H_last_ref, reference.pixels)
                pairs = match_guided(
                    reference.features, observation.pinhole_features, predicted, radius, matching
                )
        with watch.stage("pose"):
            result = self._estimate(reference, observation, pairs)
        guided = None if result is None else (pairs, result)
        if guided is not None and 3 * guided[1].inliers.sum() > len(pairs):
            return guided
        with watch.stage("match"):
            pairs = match_finite(reference, observation, matching)
        with watch.stage("pose"):
            result = self._estimate(reference, observation, pairs)
        return guided if result is None else (pairs, result)

    def _find_from_last(
        self, observation: Observation, watch: Stopwatch
    ) -> tuple[Array, HomographyResult] | None:
        """Re-anchor on the newest tracked frame if this frame can be tied to it."""
        assert self._last is not None
        last, H_last_0 = self._last, unit_homography(self._H_last_ref @ self._H_ref_0)
        matching = MatchConfig(min_similarity=self._config.min_similarity)
        with watch.stage("match"):
            pairs = match_finite(last, observation, matching)
        with watch.stage("pose"):
            result = self._estimate(last, observation, pairs)
        if result is None:
            return None
        self._anchor(last, H_last_0)
        return pairs, result

    def _estimate(
        self, reference: Observation, observation: Observation, pairs: Array
    ) -> HomographyResult | None:
        return estimate_homography(
            reference.pixels[pairs[:, 0]], observation.pixels[pairs[:, 1]], self._config.estimation
        )


def overlap(H_b_a: Array, image_size_hw: tuple[int, int]) -> float:
    """Return the share of image a's pixels (a 16x16 grid of them) that land inside image b."""
    height, width = image_size_hw
    x, y = np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 16))
    warped = warp_points(H_b_a, np.column_stack([x.ravel(), y.ravel()]))
    with np.errstate(invalid="ignore"):
        inside = ((warped >= 0) & (warped <= [width - 1, height - 1])).all(axis=1)
    return float(inside.mean())


def _num_usable(observation: Observation) -> int:
    return int(np.isfinite(observation.pixels).all(axis=1).sum())
