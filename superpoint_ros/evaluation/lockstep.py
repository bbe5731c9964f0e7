# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Odometry over a recording without ROS: every frame, in order, nothing dropped, no clock.

The same decoder, extractor and `VisualOdometry` as the nodes own, so the same frames give the same
poses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from superpoint_ros.data import Array, Features, Observation, TrackingResult, TrackingState
from superpoint_ros.decode import DecodeError
from superpoint_ros.evaluation.bag import BagError, Frame
from superpoint_ros.evaluation.trajectory import Trajectory
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.odometry.observation import (
    DepthConfig,
    StereoConfig,
    make_observation,
    make_stereo_observation,
    make_stereo_pair,
)
from superpoint_ros.pairing import JUMP_BACK_NS
from superpoint_ros.profiling import LatencyLog, Stopwatch

DESCRIPTOR_TYPES = ("f32", "f16")
_READING = "read"  # is no stage: it is the disk's


class Odometry(Protocol):
    """What is evaluated; `odometry.VisualOdometry` is one."""

    def track(self, observation: Observation) -> TrackingResult:
        """Take the next frame."""
        ...

    def reset(self) -> None:
        """Start anew."""
        ...


Observer = Callable[[Frame, "Array | None", "Observation | None", "TrackingResult | None"], None]


@dataclass
class LockstepRun:
    """What one pass over a recording gave.

    Attributes:
        stamps_ns: Of all frames, used or not, in order.
        states: State after each frame; of a skipped frame the one before.
        poses: T_world_cam (4, 4) of each frame, or None.
        map_ids: Map of each frame.
        covariances: (6, 6) of each pose, or None; see `TrackingResult`. Empty: not recorded.
        num_keypoints: Of each frame; 0 if skipped.
        num_inliers: Of each frame; 0 if skipped.
        num_landmarks: Of the map after each frame; of a skipped frame the one before.
        skipped: Index of a frame -> why it could not be used.
        gaps_ns: Stamp of the partner minus that of the image, of the frames that have one.
        latencies_ms: Stage -> time of each frame (N,), milliseconds; NaN where it did not run.
        latency_ms: Stage -> p50, p95, p99.
        wall_s: What this run alone takes, reading and decoding included, seconds.
    """

    stamps_ns: list[int] = field(default_factory=list)
    states: list[TrackingState] = field(default_factory=list)
    poses: list[Array | None] = field(default_factory=list)
    map_ids: list[int] = field(default_factory=list)
    covariances: list[Array | None] = field(default_factory=list)
    num_keypoints: list[int] = field(default_factory=list)
    num_inliers: list[int] = field(default_factory=list)
    num_landmarks: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    gaps_ns: list[int] = field(default_factory=list)
    latencies_ms: Mapping[str, Array] = field(default_factory=dict)
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    wall_s: float = 0.0

    @property
    def is_tracked(self) -> list[bool]:
        """Whether each frame was tracked."""
        return [
            state is TrackingState.TRACKING and i not in self.skipped
            for i, state in enumerate(self.states)
        ]

    def trajectory(self) -> Trajectory:
        """Return the poses of the frames that have one, in order of the frames.

        Stamps ascend within a map; a recording that begins again starts a new one.
        """
        chosen = [i for i, T_world_cam in enumerate(self.poses) if T_world_cam is not None]
        known = [C for C in self.covariances if C is not None]
        return Trajectory(
            np.array([self.stamps_ns[i] for i in chosen], np.int64),
            np.array([T for T in self.poses if T is not None], np.float64).reshape(-1, 4, 4),
            np.array([self.map_ids[i] for i in chosen], np.int64),
            np.array(known) if known and len(known) == len(chosen) else None,
            np.array(chosen, np.int64),
        )


class Lane:
    """One odometry along a recording, and the record of its run.

    Several lanes may share one pass over the recording, and the features of its frames.

    Attributes:
        odometry: Takes the observations; reset only where the stamps jump back. Frames that are
            late by less are skipped, as the tracker node drops them.
        run: The record; its latencies are there after `finish`.
    """

    def __init__(
        self,
        odometry: Odometry,
        *,
        keeps: Callable[[int], bool] = lambda position: True,
        observer: Observer | None = None,
    ) -> None:
        """Start an empty record.

        Args:
            odometry: What is run.
            keeps: Which frames it gets, by their position in the recording (from 0).
            observer: Called after each frame with the frame, its grey image, the observation and
                the result; None for what a skipped frame has not got.
        """
        self.odometry = odometry
        self.run = LockstepRun()
        self.keeps = keeps
        self._observer = observer
        self._latencies: list[Mapping[str, float]] = []
        self._last_stamp_ns: int | None = None

    def take(
        self,
        frame: Frame,
        grey: Array | None,
        observation: Observation | None,
        error: str,
        watch: Stopwatch,
    ) -> None:
        """Track one frame, or record why it cannot be.

        Args:
            frame: The next one.
            grey: Its image; None if it is damaged.
            observation: None if the frame cannot be used.
            error: Why not.
            watch: What came before tracking.
        """
        latency_ms = dict(watch.latency_ms)
        reading_ms = latency_ms.pop(_READING)
        result = None
        if observation is not None and self._last_stamp_ns is not None:
            back_ns = self._last_stamp_ns - frame.stamp_ns
            if back_ns > JUMP_BACK_NS:
                self.odometry.reset()  # a bag that was recorded over a restart, or a loop of one
            elif back_ns > 0:
                error = f"it is {back_ns * 1e-6:.1f} ms older than a frame before it"
                observation = None
            elif back_ns == 0:
                error = f"the stamp {frame.stamp_ns} ns repeats that of the frame before"
                observation = None
        if observation is not None:
            self._last_stamp_ns = frame.stamp_ns
            tracking = Stopwatch()
            with tracking.stage("track"):
                result = self.odometry.track(observation)
            latency_ms |= tracking.latency_ms
            latency_ms["total"] = sum(latency_ms.values())
            latency_ms |= {f"track/{name}": value for name, value in result.latency_ms.items()}
        self.run.wall_s += 1e-3 * (reading_ms + latency_ms.get("total", sum(latency_ms.values())))
        self._latencies.append(latency_ms if result is not None else {})
        _record(self.run, frame, observation, result, error)
        if self._observer is not None:
            self._observer(frame, grey, observation, result)

    def finish(self) -> LockstepRun:
        """Complete the record and return it."""
        log = LatencyLog(max_frames=max(len(self._latencies), 1))
        for latency_ms in self._latencies:
            log.add(latency_ms)
        self.run.latency_ms = log.summary()
        self.run.latencies_ms = {
            stage: np.array(
                [latency.get(stage, np.nan) for latency in self._latencies], np.float32
            )
            for stage in self.run.latency_ms
        }
        return self.run


@dataclass(frozen=True)
class LaneGroup:
    """Lanes that share the features of every frame.

    Attributes:
        extract_batch: The images of one moment (one, or left and right) -> their features.
        lanes: What is run on them.
        change_image: Grey image, position of the frame, camera (0 or 1) -> the image to use.
        descriptor_type: "f16" rounds the descriptors as the features message does by default, so
            that the poses equal those of the nodes; "f32" leaves them.
        depth_config: Which depths to trust.
        stereo_config: Extrinsics, search and noise of a stereo pair.
    """

    extract_batch: Callable[[Sequence[Array]], Sequence[Features]]
    lanes: Sequence[Lane]
    change_image: Callable[[Array, int, int], Array] = lambda image, position, camera: image
    descriptor_type: str = "f16"
    depth_config: DepthConfig = field(default_factory=DepthConfig)
    stereo_config: StereoConfig = field(default_factory=StereoConfig)

    def __post_init__(self) -> None:
        if self.descriptor_type not in DESCRIPTOR_TYPES:
            raise ValueError(f"descriptor_type '{self.descriptor_type}' is not one of f32, f16")


def run_lanes(
    frames: Iterable[Frame],
    groups: Sequence[LaneGroup],
    *,
    depth_units_per_metre: float = 1000.0,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Take every frame in order through every lane that wants it; `Lane.finish` gives the runs.

    Bad frames, and those whose size is not that of calibration or depth, are named in
    `LockstepRun.skipped`; they do not stop the run, unless all are.

    Args:
        frames: From `BagReader.frames()`.
        groups: What to run.
        depth_units_per_metre: Unit of 16-bit depth images.
        on_frame: Called after each frame.

    Raises:
        CalibrationError: A camera_info that cannot be used, or a pair of them.
        BagError: The recording is damaged, or not one frame can be used.
    """
    first_error, num_used = "", 0
    start = time.perf_counter()
    for position, frame in enumerate(frames):
        shared = Stopwatch()
        shared.latency_ms[_READING] = 1e3 * (time.perf_counter() - start)
        decoded, error = None, frame.error
        if not error:
            try:
                with shared.stage("decode"):
                    decoded = _decode(frame, depth_units_per_metre)
            except DecodeError as decode_error:
                error = str(decode_error)
        first_error = first_error or error
        num_used += not error
        for group in groups:
            lanes = [lane for lane in group.lanes if lane.keeps(position)]
            if not lanes:
                continue
            watch = Stopwatch()
            watch.latency_ms |= shared.latency_ms
            grey, observation = None, None
            if decoded is not None:
                images = [
                    group.change_image(image, position, camera)
                    for camera, image in enumerate(decoded.images)
                ]
                grey = images[0]
                observation = _observe(frame, images, decoded, group, watch)
            for lane in lanes:
                lane.take(frame, grey, observation, error, watch)
        on_frame()
        start = time.perf_counter()
    if first_error and not num_used:
        raise BagError(f"not one frame can be used, the first: {first_error}")


def run_odometry(
    frames: Iterable[Frame],
    extract: Callable[[Array], Features],
    odometry: Odometry,
    *,
    depth_units_per_metre: float = 1000.0,
    descriptor_type: str = "f16",
    depth_config: DepthConfig | None = None,
    stereo_config: StereoConfig | None = None,
    extract_batch: Callable[[Sequence[Array]], Sequence[Features]] | None = None,
    observer: Observer | None = None,
) -> LockstepRun:
    """Track every frame in order: `run_lanes` with one lane.

    Args:
        frames: From `BagReader.frames()`.
        extract: Image (H, W) uint8 -> Features.
        odometry: Takes the observations.
        depth_units_per_metre: Unit of 16-bit depth images.
        descriptor_type: See `LaneGroup`.
        depth_config: Which depths to trust.
        stereo_config: Extrinsics, search and noise of a stereo pair.
        extract_batch: Both images of a stereo pair -> both features; None: `extract` twice.
        observer: See `Lane`.

    Raises:
        ValueError: An unknown `descriptor_type`.
        CalibrationError: A camera_info that cannot be used, or a pair of them.
        BagError: The recording is damaged, or not one frame can be used.
    """
    lane = Lane(odometry, observer=observer)
    group = LaneGroup(
        extract_batch or (lambda images: [extract(image) for image in images]),
        [lane],
        descriptor_type=descriptor_type,
        depth_config=depth_config or DepthConfig(),
        stereo_config=stereo_config or StereoConfig(),
    )
    run_lanes(frames, [group], depth_units_per_metre=depth_units_per_metre)
    return lane.finish()


@dataclass(frozen=True)
class _Decoded:
    """A frame's images: grey (left, or left and right), and depth in metres."""

    images: Sequence[Array]
    cameras: Sequence[Camera]
    depth: Array | None


def _decode(frame: Frame, depth_units_per_metre: float) -> _Decoded:
    images, depth = [frame.grey()], None
    infos = [frame.camera_info]
    if frame.is_stereo:
        images.append(frame.grey_right())
        infos.append(frame.second_camera_info)
    elif frame.second is not None:
        depth = frame.depth(depth_units_per_metre)
    cameras = [Camera.from_message(info, frame.is_rectified) for info in infos]
    for image, camera in zip(images, cameras, strict=True):
        _check_size(image, camera)
    if depth is not None and depth.shape != images[0].shape:
        raise DecodeError(
            f"depth is {depth.shape[1]}x{depth.shape[0]}, but the image is "
            f"{images[0].shape[1]}x{images[0].shape[0]}: pass the --depth of aligned depth "
            "(align_depth of the driver, or depth_image_proc's register node), or --sensor mono"
        )
    return _Decoded(images, cameras, depth)


def _observe(
    frame: Frame, images: Sequence[Array], decoded: _Decoded, group: LaneGroup, watch: Stopwatch
) -> Observation:
    with watch.stage("network"):
        features = [
            round_descriptors(found, group.descriptor_type)
            for found in group.extract_batch(images)
        ]
    with watch.stage("observe"):
        if len(images) == 1:
            return make_observation(
                frame.stamp_ns, features[0], decoded.cameras[0], decoded.depth, group.depth_config
            )
        pair = make_stereo_pair(decoded.cameras[0], decoded.cameras[1], group.stereo_config)
        return make_stereo_observation(
            frame.stamp_ns, features[0], features[1], pair, group.stereo_config
        )


def round_descriptors(features: Features, descriptor_type: str) -> Features:
    """Return the features as they are after a journey through a message of that type."""
    if descriptor_type == "f32":
        return features
    return Features(
        features.keypoints,
        features.scores,
        features.descriptors.astype(np.float16).astype(np.float32),
        features.image_size_hw,
    )


def _record(
    run: LockstepRun,
    frame: Frame,
    observation: Observation | None,
    result: TrackingResult | None,
    error: str,
) -> None:
    run.stamps_ns.append(frame.stamp_ns)
    if frame.gap_ns is not None:
        run.gaps_ns.append(frame.gap_ns)
    if observation is None or result is None:
        run.skipped[len(run.stamps_ns) - 1] = error
        run.states.append(run.states[-1] if run.states else TrackingState.INITIALIZING)
        run.map_ids.append(run.map_ids[-1] if run.map_ids else 0)
        run.poses.append(None)
        run.covariances.append(None)
        run.num_keypoints.append(0)
        run.num_inliers.append(0)
        run.num_landmarks.append(run.num_landmarks[-1] if run.num_landmarks else 0)
        return
    run.states.append(result.state)
    run.map_ids.append(result.map_id)
    run.poses.append(result.T_world_cam)
    run.covariances.append(result.covariance)
    run.num_keypoints.append(len(observation.features))
    run.num_inliers.append(result.num_inliers)
    run.num_landmarks.append(result.num_landmarks)


def _check_size(image: Any, camera: Camera) -> None:
    if all(camera.image_size_hw) and camera.image_size_hw != image.shape[:2]:
        raise DecodeError(
            f"camera_info is of {camera.image_size_hw[1]}x{camera.image_size_hw[0]} images, but "
            f"the image is {image.shape[1]}x{image.shape[0]}: pass the --camera-info of this image"
        )
