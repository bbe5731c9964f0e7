# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages in, observation out: calibration, features, and depth or right features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from superpoint_ros.data import Features, Observation
from superpoint_ros.decode import decode_depth
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.registration import why_not_registered
from superpoint_ros.odometry.observation import (
    make_observation,
    make_stereo_observation,
    make_stereo_pair,
)
from superpoint_ros.odometry.visual_odometry import OdometryConfig
from superpoint_ros.profiling import Stopwatch
from superpoint_ros.ros.conversions import MessageError, features_from_message, stamp_to_ns
from superpoint_ros.ros.log import Problems


@dataclass(frozen=True)
class LocalFeatures:
    """Features handed over inside one process; stands where a Features message would.

    Attributes:
        header: Of the (left) image.
        features: Of the (left) image.
        latency_ms: From the image's arrival.
        right: Of the right image; None unless the features node has `stereo`.
    """

    header: Any
    features: Features
    latency_ms: float
    right: Features | None = None


class ObservationMaker:
    """Knows the calibration and makes observations of what comes.

    Args:
        config: Its mode is the sensor.
        depth_units_per_metre: Of 16-bit depth images.
        problems: Hears of calibrations that cannot be used.
        is_rectified: Whether the images are; see `Camera.from_message`.
    """

    def __init__(
        self,
        config: OdometryConfig,
        depth_units_per_metre: float,
        problems: Problems,
        is_rectified: bool = False,
    ) -> None:
        self._config = config
        self._is_rectified = is_rectified
        self._depth_units_per_metre = depth_units_per_metre
        self._problems = problems
        # Of the (left) and of the right image, with their topics.
        self._cameras: list[tuple[Camera, str] | None] = [None, None]
        self._depth_camera: tuple[Camera, str] | None = None

    def set_camera(self, message: Any, topic: str, is_right: bool = False) -> None:
        """Take a camera_info; one that cannot be used is reported and passed over."""
        cameras = list(self._cameras)
        where = topic
        try:
            cameras[is_right] = (Camera.from_message(message, self._is_rectified), topic)
            left, right = cameras
            if left is not None and right is not None:
                where = right[1]
                make_stereo_pair(left[0], right[0], self._config.stereo)
        except CalibrationError as error:
            self._problems.report("calibration", f"{where}: {error}")
            return
        self._cameras = cameras
        if self.is_calibrated:
            self._problems.clear("calibration")
            self._problems.clear("camera_info")
        self._compare_depth_camera()

    def set_depth_camera(self, message: Any, topic: str) -> None:
        """Take the camera_info of the depth image, which only tells whether that is registered."""
        try:
            self._depth_camera = (Camera.from_message(message, self._is_rectified), topic)
        except CalibrationError:
            return  # nothing is computed from it
        self._compare_depth_camera()

    def _compare_depth_camera(self) -> None:
        """Report depth seen by another lens: it has the image's size often, its places never."""
        left = self._cameras[0]
        if left is None or self._depth_camera is None:
            return
        (camera, topic), (depth, depth_topic) = left, self._depth_camera
        why = why_not_registered(camera, topic, depth, depth_topic)
        if why:
            self._problems.report("depth", f"{why}, or name its camera_info")
        else:
            self._problems.clear("depth")

    @property
    def is_calibrated(self) -> bool:
        """Whether every camera has a calibration that can be used."""
        left, right = self._cameras
        return left is not None and (right is not None or self._config.mode != "stereo")

    def make(self, frame: Any, partner: Any, watch: Stopwatch) -> Observation:
        """Make the observation of one frame; `is_calibrated` has to hold.

        Args:
            frame: Features message or LocalFeatures.
            partner: Depth image (rgbd) or Features message of the right image (stereo, unless
                `frame` brings them); None for other modes.
            watch: Takes the stages.

        Raises:
            MessageError: Features that are broken, or of another size than the calibration.
            DecodeError: A depth image that is broken.
            ValueError: A depth image of another size, or descriptors that do not compare.
        """
        stamp_ns = stamp_to_ns(frame.header.stamp)
        left = self._cameras[0]
        assert left is not None
        with watch.stage("unpack"):
            features = _unpack(frame, *left)
        if self._config.mode == "stereo":
            right = self._cameras[1]
            assert right is not None
            with watch.stage("unpack"):
                features_right = self._unpack_right(frame, partner)
                _check_size(features_right, *right)
            with watch.stage("observe"):
                pair = make_stereo_pair(left[0], right[0], self._config.stereo)
                return make_stereo_observation(
                    stamp_ns, features, features_right, pair, self._config.stereo
                )
        depth = None
        if partner is not None:
            with watch.stage("depth"):
                depth = decode_depth(partner, self._depth_units_per_metre)
        with watch.stage("observe"):
            return make_observation(stamp_ns, features, left[0], depth, self._config.depth)

    @staticmethod
    def _unpack_right(frame: Any, partner: Any) -> Features:
        if partner is not None:
            return features_from_message(partner)
        if frame.right is None:
            raise MessageError("no features of the right image: set stereo: true in features_node")
        right: Features = frame.right
        return right


def _unpack(frame: Any, camera: Camera, topic: str) -> Features:
    is_local = isinstance(frame, LocalFeatures)
    features = frame.features if is_local else features_from_message(frame)
    _check_size(features, camera, topic)
    return features


def _check_size(features: Features, camera: Camera, topic: str) -> None:
    if camera.image_size_hw[0] and camera.image_size_hw != tuple(features.image_size_hw):
        (height, width), (rows, columns) = features.image_size_hw, camera.image_size_hw
        raise MessageError(
            f"images are {width} x {height} but {topic} is for "
            f"{columns} x {rows}: use the camera_info of this image"
        )
