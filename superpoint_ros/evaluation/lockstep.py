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
from superpoint_ros.decode import DecodeError, decode_depth, decode_grey
from superpoint_ros.evaluation.bag import BagError, Frame
from superpoint_ros.evaluation.trajectory import Trajectory, make_trajectory
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.odometry.observation import (
    DepthConfig,
    StereoConfig,
    make_observation,
    make_stereo_observation,
    make_stereo_pair,
)
from superpoint_ros.profiling import LatencyLog, Stopwatch

DESCRIPTOR_TYPES = ("f32", "f16")


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
        num_keypoints: Of each frame; 0 if skipped.
        num_inliers: Of each frame; 0 if skipped.
        skipped: Index of a frame -> why it could not be used.
        gaps_ns: Stamp of the partner minus that of the image, of the frames that have one.
        latency_ms: Stage -> p50, p95, p99.
        wall_s: From the first to the last frame, reading included.
    """

    stamps_ns: list[int] = field(default_factory=list)
    states: list[TrackingState] = field(default_factory=list)
    poses: list[Array | None] = field(default_factory=list)
    map_ids: list[int] = field(default_factory=list)
    num_keypoints: list[int] = field(default_factory=list)
    num_inliers: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    gaps_ns: list[int] = field(default_factory=list)
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
        """Return the poses of the frames that have one."""
        chosen = [i for i, T_world_cam in enumerate(self.poses) if T_world_cam is not None]
        return make_trajectory(
            [self.stamps_ns[i] for i in chosen],
            [T for T in self.poses if T is not None],
            [self.map_ids[i] for i in chosen],
        )


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
    """Track every frame in order. Bad frames are named in `skipped`; they do not stop the run.

    Args:
        frames: From `BagReader.frames()`.
        extract: Image (H, W) uint8 -> Features.
        odometry: Takes the observations; reset only where the stamps jump back.
        depth_units_per_metre: Unit of 16-bit depth images.
        descriptor_type: "f16" rounds the descriptors as the features message does by default, so
            that the poses equal those of the nodes; "f32" leaves them.
        depth_config: Which depths to trust.
        stereo_config: Extrinsics, search and noise of a stereo pair.
        extract_batch: Both images of a stereo pair -> both features; None: `extract` twice.
        observer: Called after each frame with the frame, its grey image, the observation and the
            result; None for what a skipped frame has not got.

    Raises:
        ValueError: An unknown `descriptor_type`.
        CalibrationError: A camera_info that cannot be used, or a pair of them.
        BagError: The recording is damaged, or the calibration is of another image size.
    """
    if descriptor_type not in DESCRIPTOR_TYPES:
        raise ValueError(f"descriptor_type '{descriptor_type}' is not one of f32, f16")
    sensor = _Sensor(
        extract,
        extract_batch or (lambda images: [extract(image) for image in images]),
        descriptor_type,
        depth_units_per_metre,
        depth_config or DepthConfig(),
        stereo_config or StereoConfig(),
    )
    run = LockstepRun()
    log = LatencyLog()
    last_stamp_ns: int | None = None
    start = time.perf_counter()
    for frame in frames:
        watch = Stopwatch()
        observation, result, grey, error = None, None, None, frame.error
        if last_stamp_ns is not None and frame.stamp_ns <= last_stamp_ns and not error:
            if frame.stamp_ns == last_stamp_ns:
                error = f"the stamp {frame.stamp_ns} ns repeats that of the frame before"
            else:  # a bag that was recorded over a restart, or a loop of one
                odometry.reset()
        if not error:
            try:
                with watch.stage("decode"):
                    grey = decode_grey(frame.image)
                is_stereo = frame.second_camera_info is not None
                observe = _observe_stereo if is_stereo else _observe
                observation = observe(frame, grey, sensor, watch)
            except DecodeError as decode_error:
                error = str(decode_error)
        if observation is not None:
            last_stamp_ns = frame.stamp_ns
            with watch.stage("track"):
                result = odometry.track(observation)
            for name, value in result.latency_ms.items():
                watch.latency_ms[f"track/{name}"] = value
            stages = ("decode", "network", "observe", "track")
            watch.latency_ms["total"] = sum(watch.latency_ms[name] for name in stages)
            log.add(watch.latency_ms)
        _record(run, frame, observation, result, error)
        if observer is not None:
            observer(frame, grey, observation, result)
    run.wall_s = time.perf_counter() - start
    run.latency_ms = log.summary()
    return run


@dataclass(frozen=True)
class _Sensor:
    """How frames become observations."""

    extract: Callable[[Array], Features]
    extract_batch: Callable[[Sequence[Array]], Sequence[Features]]
    descriptor_type: str
    depth_units_per_metre: float
    depth_config: DepthConfig
    stereo_config: StereoConfig


def _observe(frame: Frame, grey: Array, sensor: _Sensor, watch: Stopwatch) -> Observation:
    depth_image = None
    if frame.second is not None:
        with watch.stage("decode"):
            depth_image = decode_depth(frame.second, sensor.depth_units_per_metre)
    camera = Camera.from_message(frame.camera_info, frame.is_rectified)
    _check_size(grey, camera)
    with watch.stage("network"):
        features = round_descriptors(sensor.extract(grey), sensor.descriptor_type)
    with watch.stage("observe"):
        return make_observation(frame.stamp_ns, features, camera, depth_image, sensor.depth_config)


def _observe_stereo(frame: Frame, grey: Array, sensor: _Sensor, watch: Stopwatch) -> Observation:
    with watch.stage("decode"):
        images = [grey, decode_grey(frame.second)]
    infos = (frame.camera_info, frame.second_camera_info)
    cameras = [Camera.from_message(info, frame.is_rectified) for info in infos]
    for image, camera in zip(images, cameras, strict=True):
        _check_size(image, camera)
    with watch.stage("network"):
        left, right = (
            round_descriptors(features, sensor.descriptor_type)
            for features in sensor.extract_batch(images)
        )
    with watch.stage("observe"):
        pair = make_stereo_pair(cameras[0], cameras[1], sensor.stereo_config)
        return make_stereo_observation(frame.stamp_ns, left, right, pair, sensor.stereo_config)


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
        run.num_keypoints.append(0)
        run.num_inliers.append(0)
        return
    run.states.append(result.state)
    run.map_ids.append(result.map_id)
    run.poses.append(result.T_world_cam)
    run.num_keypoints.append(len(observation.features))
    run.num_inliers.append(result.num_inliers)


def _check_size(image: Any, camera: Camera) -> None:
    if all(camera.image_size_hw) and camera.image_size_hw != image.shape[:2]:
        raise BagError(
            f"camera_info is of {camera.image_size_hw[1]}x{camera.image_size_hw[0]} images, but "
            f"the image is {image.shape[1]}x{image.shape[0]}: pass the --camera-info of this image"
        )
