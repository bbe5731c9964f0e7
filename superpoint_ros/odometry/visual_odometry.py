# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The odometry: one object for the node, the evaluator and the tests.

States: INITIALIZING until there is a map, TRACKING, LOST when a frame finds no pose. A lost camera
tries its recent keyframes on every frame; when that fails for too long, or when features of
another network come, a new map starts where the last pose was and `map_id` counts up: a pose never
teleports without it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Matches, Observation, TrackingResult, TrackingState
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.bundle_adjustment import adjust_bundle
from superpoint_ros.geometry.pnp import reprojection_residuals
from superpoint_ros.odometry import mapping, uncertainty
from superpoint_ros.odometry.bundle_thread import BundleThread
from superpoint_ros.odometry.homography_tracking import HomographyTracker, HomographyTrackingConfig
from superpoint_ros.odometry.initialization import InitializationConfig, start_map
from superpoint_ros.odometry.keyframes import (
    NO_LANDMARK,
    Keyframe,
    KeyframeConfig,
    common_landmarks,
    is_keyframe_due,
)
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.mapping import BundleConfig, MappingConfig
from superpoint_ros.odometry.observation import DepthConfig, StereoConfig
from superpoint_ros.odometry.rolling_shutter import (
    RollingShutterConfig,
    compensate_rolling_shutter,
)
from superpoint_ros.odometry.tracking import (
    MAX_GAP,
    MotionModel,
    TrackedFrame,
    TrackingConfig,
    track_keyframe,
    track_local_map,
)
from superpoint_ros.odometry.uncertainty import NoiseModel, PoseError
from superpoint_ros.profiling import Stopwatch

# Views kept while a mono map waits for its start. A first view that is long out of sight is of
# no use; a choice of several starts the map as early as can be. The others only witness.
_EARLY_VIEWS = 15
_FIRST_VIEW_EVERY = 3
_FARTHER = 3.0  # times the search radius: a head that starts to turn between two frames
_STRAIGHTENING_ROUNDS = 2  # each divides what is left of the shear by about ten


@dataclass(frozen=True)
class OdometryConfig(Config):
    """Visual odometry."""

    mode: str = option("mono", "Sensor.", choices=("mono", "stereo", "rgbd", "homography"))
    max_lost_frames: int = option(
        30,
        "Frames without a pose after which a new map (homography: a new reference) starts; "
        "frames that show nothing do not count.",
        minimum=1,
        maximum=100000,
    )
    depth: DepthConfig = dataclasses.field(default_factory=DepthConfig)
    stereo: StereoConfig = dataclasses.field(default_factory=StereoConfig)
    initialization: InitializationConfig = dataclasses.field(default_factory=InitializationConfig)
    tracking: TrackingConfig = dataclasses.field(default_factory=TrackingConfig)
    keyframes: KeyframeConfig = dataclasses.field(default_factory=KeyframeConfig)
    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    local_map: LocalMapConfig = dataclasses.field(default_factory=LocalMapConfig)
    rolling_shutter: RollingShutterConfig = dataclasses.field(default_factory=RollingShutterConfig)
    bundle: BundleConfig = dataclasses.field(default_factory=BundleConfig)
    homography: HomographyTrackingConfig = dataclasses.field(
        default_factory=HomographyTrackingConfig
    )

    @property
    def min_features(self) -> int:
        """Fewest features of a frame that the first map can come from."""
        if self.mode == "mono":
            return self.initialization.min_matches
        if self.mode == "homography":
            return self.homography.estimation.min_inliers
        return max(self.tracking.min_inliers, self.tracking.relocalization_inliers)


@dataclass(frozen=True)
class Landmarks:
    """A local map at one moment.

    Attributes:
        ids: (N,) int64, ascending; an id stays with its landmark until the map starts anew.
        points_world: (N, 3), world frame.
        seen_ids: (M,) those that the newest keyframe sees.
        seen_at: (M, 2) where, pixels of the raw image.
    """

    ids: Array
    points_world: Array
    seen_ids: Array
    seen_at: Array


@dataclass(frozen=True)
class Sightings:
    """What one frame saw of the map, and its pose explains.

    Attributes:
        keypoints: (M,) int, rows of the frame's features.
        points_world: (M, 3) the landmarks, world frame.
    """

    keypoints: Array
    points_world: Array


class VisualOdometry:
    """Poses from observations, one after the other. Same input, same output, bit by bit."""

    def __init__(self, config: OdometryConfig | None = None) -> None:
        self.config = config or OdometryConfig()
        self._map_id = 0
        self._planar = HomographyTracker(self.config.homography, self.config.max_lost_frames)
        self._state = TrackingState.INITIALIZING
        self._T_world_start = self._T_world_cam = np.eye(4)
        self._map = self._make_map()
        self._early_views: deque[tuple[int, Observation]] = deque()  # (frame, view), oldest first
        self._frames_waited = 0  # for the start of a mono map
        self._is_first_straight = False  # the first keyframe, of a rolling shutter
        self._last_stamp_ns: int | None = None
        self._descriptor_dim: int | None = None
        self._frames_since_keyframe = self._lost_frames = self._relocalization_turn = 0
        self._motion = MotionModel()
        self._bundle = BundleThread(
            self.config.tracking.pnp.pixel_sigma, self.config.bundle.max_iterations
        )
        self._error = uncertainty.exact()  # within this map
        self._start_covariance = np.zeros((6, 6))  # of the pose that started it
        self._unseen_since_ns: int | None = None  # for a map that starts after a blackout
        self._twist: tuple[Array, Array] | None = None  # with covariance
        self._tracked: TrackedFrame | None = None  # the last frame, if the map gave its pose

    @property
    def state(self) -> TrackingState:
        """State after the last frame."""
        return self._planar.state if self.config.mode == "homography" else self._state

    @property
    def descriptor_dim(self) -> int | None:
        """Length of the descriptors so far; None: none have come."""
        return self._descriptor_dim

    def reset(self, T_world_cam: Array | None = None) -> None:
        """Forget the map and start a new one, with the next camera at `T_world_cam`.

        Args:
            T_world_cam: (4, 4); None: the identity.
        """
        self._map_id += 1
        self._planar.start_new_map()
        start = np.eye(4) if T_world_cam is None else np.array(T_world_cam, np.float64)
        self._clear(start, np.zeros((6, 6)), self._make_map())

    def close(self) -> None:
        """End the thread of the bundle adjustment; tracking may go on and would start it anew."""
        self._bundle.close()

    def landmarks_world(self) -> Array:
        """Return the local map's points (N, 3), world frame."""
        return self._map.points.copy()

    def landmarks(self) -> Landmarks:
        """Return the local map, and where its newest keyframe sees it."""
        if not self._map.keyframes:
            nothing = np.empty(0, np.int64)
            return Landmarks(nothing, np.empty((0, 3)), nothing, np.empty((0, 2), np.float32))
        newest = self._map.keyframes[-1]
        seen = newest.landmark_ids != NO_LANDMARK
        return Landmarks(
            self._map.ids.copy(),
            self._map.points.copy(),
            newest.landmark_ids[seen],
            newest.observation.features.keypoints[seen],
        )

    def sightings(self) -> Sightings | None:
        """Return what the last frame saw of the map; None if that gave it no pose."""
        return None if self._tracked is None else self._sightings_of(self._tracked)

    def track(self, observation: Observation) -> TrackingResult:
        """Take the next frame.

        Args:
            observation: Of the next image; stamps ascend.

        Returns:
            State and, where there is one, the pose. See `TrackingResult`.

        Raises:
            ValueError: The stamp does not ascend (reset first when time jumps back).
        """
        if self._last_stamp_ns is not None and observation.stamp_ns <= self._last_stamp_ns:
            raise ValueError(
                f"stamp {observation.stamp_ns} is not after {self._last_stamp_ns}: call reset() "
                "when time jumps back"
            )
        self._last_stamp_ns = observation.stamp_ns
        self._check_network(observation)
        watch = Stopwatch()
        if self.config.mode == "homography":
            return self._planar.track(observation, watch)
        raw_stretch = observation.stretch
        observation = self._map.noise.of_scores.weigh(observation)
        if self._state == TrackingState.INITIALIZING:
            with watch.stage("initialize"):
                is_started = self._initialize(observation)
            return self._result(observation, watch, is_keyframe=is_started)
        self._frames_since_keyframe += 1
        if self._frames_since_keyframe >= self.config.keyframes.min_interval:
            # Always this frame, whether the thread was fast or slow: the first that may become
            # the next keyframe. Same input, same output.
            with watch.stage("bundle"):
                self._take_adjusted()
        with watch.stage("track"):
            tracked = self._find_pose(observation)
            if tracked is not None and not self._is_first_straight:
                tracked = self._straighten_first_keyframe(observation, tracked)
            if tracked is not None and not self._map.noise.is_known:
                tracked = self._learn_noise(observation, tracked)
        if tracked is None:
            return self._miss(observation, watch)
        self._learn_from_scores(tracked, raw_stretch)
        matches = self._matches_with_reference(tracked)
        self._state = TrackingState.TRACKING
        self._lost_frames = 0
        self._take_pose(observation, tracked)
        is_keyframe = self._is_keyframe_due(tracked)
        if is_keyframe:
            with watch.stage("keyframe"):
                self._start_adjusting(self._insert_keyframe(tracked))
        return self._result(observation, watch, tracked, matches, is_keyframe)

    def _make_map(self) -> LocalMap:
        mode = self.config.mode
        return LocalMap(self.config.local_map, NoiseModel(mode == "stereo", mode == "rgbd"))

    def _clear(self, T_world_start: Array, start_covariance: Array, local_map: LocalMap) -> None:
        self._bundle.drop()
        self._error = uncertainty.exact()
        self._start_covariance = start_covariance
        self._unseen_since_ns = None
        self._twist = None
        self._tracked = None
        self._state = TrackingState.INITIALIZING
        self._T_world_start = self._T_world_cam = T_world_start
        self._map = local_map
        self._early_views.clear()
        self._is_first_straight = False
        self._last_stamp_ns = None
        self._frames_since_keyframe = self._lost_frames = self._relocalization_turn = 0
        self._motion.reset()

    def _check_network(self, observation: Observation) -> None:
        """Start a new map when descriptors have another length: they compare with none before."""
        if not len(observation.features):
            return
        before = self._descriptor_dim
        self._descriptor_dim = observation.features.descriptors.shape[1]
        if before not in (None, self._descriptor_dim):
            self._planar.start_new_map()
            self._start_new_map()

    def _start_new_map(self) -> None:
        stamp_ns = self._last_stamp_ns
        self._map_id += 1
        unseen_since_ns = self._motion.stamp_ns
        if unseen_since_ns is None:  # no map came of the last start either
            unseen_since_ns = self._unseen_since_ns
        local_map = LocalMap(self.config.local_map, self._map.noise)
        self._clear(self._T_world_cam, self._covariance(), local_map)
        self._last_stamp_ns, self._unseen_since_ns = stamp_ns, unseen_since_ns

    def _covariance(self) -> Array:
        """Return that of the pose in the world (6, 6), with what moved the whole map."""
        Ad = se3.adjoint(se3.inverse(self._T_world_cam) @ self._T_world_start)
        return self._error.covariance + Ad @ self._start_covariance @ Ad.T

    # Initialising

    def _initialize(self, observation: Observation) -> bool:
        if self.config.mode == "mono":
            return self._initialize_mono(observation)
        usable = np.isfinite(observation.depth) & np.isfinite(observation.pixels).all(axis=1)
        if usable.sum() < self.config.tracking.relocalization_inliers:
            return False
        nothing = np.full(len(observation.features), NO_LANDMARK, np.int64)
        keyframe = self._map.add_keyframe(observation, self._T_world_start, nothing)
        keyframe.num_tracked = mapping.add_landmarks_from_depth(self._map, keyframe)
        self._follow_new_landmarks(0)
        self._begin_tracking(observation, keyframe)
        return True

    def _initialize_mono(self, observation: Observation) -> bool:
        config = self.config.initialization
        self._frames_waited += 1
        views = [view for _, view in self._early_views]
        for index in range(0, len(views), _FIRST_VIEW_EVERY):
            first = views[index]
            found = start_map(first, observation, config, views[index + 1 :])
            if found is None:
                continue
            nothing = np.full(len(first.features), NO_LANDMARK, np.int64)
            keyframe_a = self._map.add_keyframe(first, self._T_world_start, nothing)
            ids = self._map.add_landmarks(
                se3.transform_points(self._T_world_start, found.points_a),
                first.features.descriptors[found.pairs[:, 0]],
                self._T_world_start,
            )
            keyframe_a.landmark_ids[found.pairs[:, 0]] = ids
            keyframe_a.num_tracked = len(ids)
            landmark_ids = np.full(len(observation.features), NO_LANDMARK, np.int64)
            landmark_ids[found.pairs[:, 1]] = ids
            T_world_b = self._T_world_start @ found.T_a_b
            keyframe_b = self._map.add_keyframe(observation, T_world_b, landmark_ids)
            self._adjust_start(keyframe_b)
            self._motion.update(first.stamp_ns, keyframe_a.T_world_cam)
            self._begin_tracking(observation, keyframe_b)
            return True
        self._keep_early_view(observation)
        return False

    def _adjust_start(self, keyframe: Keyframe) -> None:
        """Adjust the two views of a new map; the second, the first with a pose, anchors it."""
        window = self._map.first_window()
        result = adjust_bundle(
            window.problem,
            self.config.tracking.pnp.pixel_sigma,
            self.config.bundle.max_iterations,
        )
        if result is None or result.noise_ratio is None:
            return
        self._map.apply(window, result)
        sigma_before = self._map.noise.sigma[0]
        self._map.noise.adapt(result.noise_ratio)
        self._map.scale_samples(self._map.noise.sigma[0] / sigma_before)
        self._map.shift_samples(keyframe, -keyframe.error_samples)

    def _keep_early_view(self, observation: Observation) -> None:
        """Keep a few views, spread over as many frames as a slow camera needs for parallax."""
        config, views, now = self.config.initialization, self._early_views, self._frames_waited
        while views and now - views[0][0] >= config.max_reference_age:
            views.popleft()
        is_due = not views or now - views[-1][0] >= config.max_reference_age / _EARLY_VIEWS
        if is_due and len(observation.features) >= config.min_matches:
            views.append((now, observation))

    def _begin_tracking(self, observation: Observation, keyframe: Keyframe) -> None:
        self._state = TrackingState.TRACKING
        self._T_world_start = self._T_world_cam = keyframe.T_world_cam
        if self._unseen_since_ns is not None:
            seconds = 1e-9 * (observation.stamp_ns - self._unseen_since_ns)
            self._start_covariance = uncertainty.after(self._start_covariance, seconds)
        self._error = PoseError(keyframe.error_samples, np.zeros((6, 6)))
        self._motion.update(observation.stamp_ns, keyframe.T_world_cam)
        self._frames_since_keyframe = 0
        self._early_views.clear()

    # Tracking

    def _find_pose(self, observation: Observation) -> TrackedFrame | None:
        config, shutter = self.config.tracking, self.config.rolling_shutter
        if self._state == TrackingState.TRACKING:
            reference = self._map.keyframes[-1]
            sure = config.sure_share * reference.num_tracked
            tracked = track_local_map(observation, self._map, self._motion, shutter, config)
            # A wrong prediction finds nothing, or a wrong pose that few landmarks agree on by
            # chance: one found farther around it competes, then one without prediction.
            if _count(tracked) < sure:
                farther = track_local_map(
                    observation, self._map, self._motion, shutter, config, _FARTHER
                )
                tracked = _better(tracked, farther)
            if _count(tracked) < sure:
                unguided = track_keyframe(
                    observation,
                    self._map,
                    reference,
                    self._motion,
                    shutter,
                    config,
                    config.min_inliers,
                )
                tracked = _better(tracked, unguided)
            if _count(tracked) >= config.min_inliers:
                return tracked
        return self._relocalize(observation)

    def _straighten_first_keyframe(
        self, observation: Observation, tracked: TrackedFrame
    ) -> TrackedFrame:
        """Undo the rolling shutter of the very first frame, now that its velocity is known.

        Left as it is, the map's first landmarks would be sheared, and every later pose with them.
        """
        shutter, first = self.config.rolling_shutter, self._map.keyframes[0]
        self._is_first_straight = True
        if shutter.readout == 0.0 or self.config.mode == "mono":
            return tracked
        raw = first.observation
        for _ in range(_STRAIGHTENING_ROUNDS):
            turn = self._motion.velocity_to(observation.stamp_ns, tracked.T_world_cam)[3:]
            straight = compensate_rolling_shutter(raw, shutter.readout * turn)
            mapping.replace_first_observation(self._map, first, straight)
            tracked = self._find_pose(observation) or tracked
        return tracked

    def _learn_noise(self, observation: Observation, tracked: TrackedFrame) -> TrackedFrame:
        """Take the noise from the first frame after the first keyframe, and its pose again."""
        # The landmarks come from one keyframe, so the residuals hold the noise twice.
        self._map.noise.adapt(tracked.spread / np.sqrt(2.0))
        self._follow_new_landmarks(0)
        return self._find_pose(observation) or tracked

    def _learn_from_scores(self, tracked: TrackedFrame, stretch: Array) -> None:
        """Show the residuals to what learns how noise falls with the score.

        Args:
            tracked: The frame.
            stretch: (N,) of its keypoints by undistortion alone, pixels of the pinhole image.
        """
        observation, seen = tracked.observation, self._sightings_of(tracked)
        rows = seen.keypoints
        residuals, _ = reprojection_residuals(
            seen.points_world, observation.pixels[rows], observation.K, tracked.T_world_cam
        )
        self._map.noise.of_scores.learn(
            observation.features.scores[rows], residuals / stretch[rows, None]
        )

    def _sightings_of(self, tracked: TrackedFrame) -> Sightings:
        """Return what a frame saw of what the map still has."""
        ids = tracked.landmark_ids
        keypoints = np.flatnonzero((ids != NO_LANDMARK) & self._map.contains(ids))
        return Sightings(keypoints, self._map.points[self._map.rows_of(ids[keypoints])])

    def _relocalize(self, observation: Observation) -> TrackedFrame | None:
        """Try the newest keyframe and, in turn, some of the older ones."""
        config = self.config.tracking
        keyframes = self._map.keyframes[::-1]
        turn, share = self._relocalization_turn, config.relocalization_keyframes
        older = keyframes[1:]
        chosen = keyframes[:1] + [
            older[(turn + i) % len(older)] for i in range(min(share - 1, len(older)))
        ]
        self._relocalization_turn += max(share - 1, 1)
        best: TrackedFrame | None = None
        for keyframe in chosen:
            tracked = track_keyframe(
                observation,
                self._map,
                keyframe,
                self._motion,
                self.config.rolling_shutter,
                config,
                config.relocalization_inliers,
            )
            best = _better(best, tracked)
        return best

    def _miss(self, observation: Observation, watch: Stopwatch) -> TrackingResult:
        self._state = TrackingState.LOST
        # A frame that shows nothing (dark, saturated) does not speak against the map.
        if len(observation.features) >= self.config.tracking.relocalization_inliers:
            self._lost_frames += 1
        if self._lost_frames <= self.config.max_lost_frames:
            return self._result(observation, watch)
        self._start_new_map()
        with watch.stage("initialize"):
            is_started = self._initialize(observation)
        return self._result(observation, watch, is_keyframe=is_started)

    def _take_pose(self, observation: Observation, tracked: TrackedFrame) -> None:
        before, T_before_now = self._error, se3.inverse(self._T_world_cam) @ tracked.T_world_cam
        rows = self._map.rows_of(tracked.sensitivity.landmark_ids)
        self._error = uncertainty.pose_error(
            tracked.sensitivity, self._map.point_samples[rows], self._map.noise
        )
        seconds = self._motion.seconds_to(observation.stamp_ns)
        self._twist = None
        if 0.0 < seconds < MAX_GAP:
            covariance = self._error.since(before, T_before_now) / seconds**2
            self._twist = se3.log(T_before_now) / seconds, covariance
        self._T_world_cam = tracked.T_world_cam
        self._motion.update(observation.stamp_ns, tracked.T_world_cam)
        self._relocalization_turn = 0

    # Mapping

    def _is_keyframe_due(self, tracked: TrackedFrame) -> bool:
        return is_keyframe_due(
            self.config.keyframes,
            self._map.keyframes[-1],
            tracked.T_world_cam,
            tracked.num_inliers,
            self._frames_since_keyframe,
            mapping.median_depth(self._map, tracked.landmark_ids, tracked.T_world_cam),
        )

    def _insert_keyframe(self, tracked: TrackedFrame) -> Keyframe:
        keyframe = self._map.add_keyframe(
            tracked.observation, tracked.T_world_cam, tracked.landmark_ids
        )
        keyframe.error_samples = uncertainty.keyframe_samples(
            self._error, tracked.sensitivity, keyframe.noise, self._map.noise
        )
        config = self.config.mapping
        first_id = self._map.next_id
        num_new = 0
        if self.config.mode != "mono":
            num_new += mapping.add_landmarks_from_depth(self._map, keyframe)
        if config.triangulate or self.config.mode == "mono":
            num_new += mapping.add_landmarks_from_views(self._map, keyframe, config)
        self._follow_new_landmarks(first_id)
        mapping.link_to_neighbours(self._map, keyframe, config)
        keyframe.num_tracked += num_new
        self._frames_since_keyframe = 0
        return keyframe

    def _follow_new_landmarks(self, first_id: int) -> None:
        pixel_sigma = self.config.tracking.pnp.pixel_sigma
        self._map.follow_new_landmarks(first_id, pixel_sigma)

    def _start_adjusting(self, keyframe: Keyframe) -> None:
        """Hand the window around a keyframe to the thread, and tidy the map."""
        config = self.config.bundle
        if config.enabled:
            window = self._map.bundle_window(
                keyframe,
                config.window,
                config.max_fixed,
                is_metric=self.config.mode != "mono",
            )
            if window is not None:
                self._bundle.start(window)
        self._map.cull()

    def _take_adjusted(self) -> None:
        """Put the adjusted window into the map, and what was estimated from it in its place."""
        adjusted = self._bundle.take()
        if adjusted is None:
            return
        window, result = adjusted
        newest = self._map.keyframes[-1]  # no other can have come since
        T_world_before, samples_before = newest.T_world_cam, newest.error_samples
        self._map.apply(window, result)
        T_new_old = newest.T_world_cam @ se3.inverse(T_world_before)
        self._T_world_cam = T_new_old @ self._T_world_cam
        self._motion.correct(T_new_old)
        change = se3.adjoint(se3.inverse(self._T_world_cam) @ newest.T_world_cam) @ (
            newest.error_samples - samples_before
        )
        self._error = dataclasses.replace(self._error, samples=self._error.samples + change)
        if result.noise_ratio is not None:
            self._map.noise.adapt(result.noise_ratio)

    # Answering

    def _matches_with_reference(self, tracked: TrackedFrame) -> Matches:
        reference = self._map.keyframes[-1]
        of_reference, of_frame = common_landmarks(reference.landmark_ids, tracked.matched_ids)
        return Matches(
            indices=np.column_stack([of_reference, of_frame]),
            inliers=tracked.landmark_ids[of_frame] != NO_LANDMARK,
            reference_stamp_ns=reference.stamp_ns,
            reference_keypoints=reference.observation.features.keypoints,
        )

    def _result(
        self,
        observation: Observation,
        watch: Stopwatch,
        tracked: TrackedFrame | None = None,
        matches: Matches | None = None,
        is_keyframe: bool = False,
    ) -> TrackingResult:
        has_pose = self._state == TrackingState.TRACKING
        self._tracked = tracked
        return TrackingResult(
            stamp_ns=observation.stamp_ns,
            state=self._state,
            T_world_cam=self._T_world_cam.copy() if has_pose else None,
            covariance=self._covariance() if has_pose else None,
            twist=self._twist[0] if has_pose and self._twist else None,
            twist_covariance=self._twist[1] if has_pose and self._twist else None,
            matches=matches,
            is_keyframe=is_keyframe,
            num_inliers=tracked.num_inliers if tracked is not None else 0,
            num_landmarks=len(self._map),
            num_keyframes=len(self._map.keyframes),
            map_id=self._map_id,
            latency_ms=dict(watch.latency_ms),
        )


def _count(tracked: TrackedFrame | None) -> int:
    return 0 if tracked is None else tracked.num_inliers


def _better(first: TrackedFrame | None, second: TrackedFrame | None) -> TrackedFrame | None:
    """Return the frame that more landmarks agree on; the first on a tie."""
    return second if _count(second) > _count(first) else first
