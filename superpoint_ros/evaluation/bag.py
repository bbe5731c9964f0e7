# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as frames: what was recorded, by which sensor, paired as the nodes pair it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.decode import DecodeError, decode_depth, decode_grey
from superpoint_ros.evaluation.folders import FolderRecording, read_calibration
from superpoint_ros.evaluation.recordings import (
    BagError,
    RecordedMessage,
    Recording,
    RosbagRecording,
    Topic,
    looks_like_rosbag,
)
from superpoint_ros.evaluation.sensors import (
    CALIBRATIONS,
    TF_TYPES,
    SensorTopics,
    detect_sensor,
    ground_truth_candidates,
)
from superpoint_ros.evaluation.trajectory import Trajectory, make_trajectory, recorded_pose
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.registration import why_not_registered
from superpoint_ros.geometry.se3 import inverse
from superpoint_ros.geometry.stereo import StereoPair
from superpoint_ros.graph import is_rectified_topic
from superpoint_ros.pairing import DEFAULT_SLOP_NS, NearestPairing, Pair

_BASE_FRAMES = ("base_footprint", "base_link", "base")
_MAX_TF_MESSAGES = 500  # of /tf: every moving frame has spoken by then
_FILE_SUFFIXES = (".yaml", ".yml")

__all__ = ["BagError", "BagReader", "Frame", "SensorTopics", "Topic"]


@dataclass(frozen=True)
class Frame:
    """The messages of one moment.

    Attributes:
        index: Counts the images of the recording from 0, unpaired and damaged ones included.
        stamp_ns: Stamp of the image.
        image: sensor_msgs/Image or CompressedImage, duck-typed; None if there is an `error`.
        camera_info: sensor_msgs/CameraInfo, the newest before the image, or else the first.
        second: Depth image (rgbd) or right image (stereo); None for mono.
        second_camera_info: Calibration of `second`; of depth None if it has none of its own.
        is_stereo: Whether `second` is a right image.
        gap_ns: Stamp of `second` minus that of the image; None if there is none at all.
        error: Why this frame cannot be used, naming its topic; empty if it can.
        is_rectified: Whether the topic says so; see `Camera.from_message`.
        topic: Of the image.
        second_topic: Of `second`.
    """

    index: int
    stamp_ns: int
    image: Any
    camera_info: Any
    second: Any = None
    second_camera_info: Any = None
    is_stereo: bool = False
    gap_ns: int | None = None
    error: str = ""
    is_rectified: bool = False
    topic: str = ""
    second_topic: str = ""

    def grey(self) -> Array:
        """Return the image, (H, W) uint8.

        Raises:
            DecodeError: It cannot be read; names its topic. The same holds for the others.
        """
        with _naming(self.topic):
            return decode_grey(self.image)

    def grey_right(self) -> Array:
        """Return the right image of a stereo frame, (H, W) uint8."""
        with _naming(self.second_topic):
            return decode_grey(self.second)

    def depth(self, units_per_metre: float) -> Array:
        """Return the depth image of an RGB-D frame, (H, W) float32 metres, NaN where unknown."""
        with _naming(self.second_topic):
            return decode_depth(self.second, units_per_metre)


@contextlib.contextmanager
def _naming(topic: str) -> Iterator[None]:
    try:
        yield
    except DecodeError as error:
        raise DecodeError(f"{topic}: {error}") from None


class BagReader:
    """Reads rosbag2, ROS 1 bags and image folders alike; a context manager.

    Attributes:
        path: Of the recording.
        depth_units_per_metre: Unit of 16-bit depth, where the layout says so; 1000 else.
        ground_truth_note: What a person should know of the poses that `ground_truth` gave.
    """

    def __init__(
        self,
        path: Path | str,
        wanted: SensorTopics | None = None,
        *,
        slop_ns: int = DEFAULT_SLOP_NS,
    ) -> None:
        """Open a recording.

        Args:
            path: rosbag2 directory, .mcap, .db3 or .bag file, or image folder.
            wanted: What not to detect; `camera_info` and `right_camera_info` may name a YAML
                file instead of a topic.
            slop_ns: Largest gap between image and depth (or right image).

        Raises:
            BagError: Absent, of no known layout, or damaged.
        """
        self.path = Path(path)
        self._wanted = wanted or SensorTopics()
        self._slop_ns = slop_ns
        if not self.path.exists():
            raise BagError(f"{self.path}: no such file or directory")
        is_bag = looks_like_rosbag(self.path)
        if not is_bag and self.path.is_file():
            raise BagError(
                f"{self.path}: not a recording; expected .mcap, .db3 or .bag, a rosbag2 "
                "directory or an image folder"
            )
        self._recording: Recording = (
            RosbagRecording(self.path) if is_bag else FolderRecording(self.path)
        )
        self.depth_units_per_metre = self._recording.depth_units_per_metre
        self.ground_truth_note = ""
        self._sensor: SensorTopics | None = None
        # Topic and time of messages that cannot be deserialised; images are named by their frames.
        self._damaged: set[tuple[str, int]] = set()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the files."""
        self._recording.close()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics of the recording, by name."""
        return self._recording.topics

    @property
    def sensor(self) -> SensorTopics:
        """The sensor and its topics, detected on first use.

        Raises:
            BagError: Ambiguous or missing; lists the topics and names the option to pass.
        """
        if self._sensor is None:
            # Calibration files stand in for topics, so they are hidden from the detection.
            files = {name: getattr(self._wanted, name) for name in CALIBRATIONS}
            files = {name: value for name, value in files.items() if _is_file_name(value)}
            found = detect_sensor(
                self.topics,
                dataclasses.replace(self._wanted, **dict.fromkeys(files, "")),
                self._first_message,
                needed=set(CALIBRATIONS) - set(files),
            )
            self._sensor = dataclasses.replace(found, **files)
        return self._sensor

    def choose_image_topic(self, topic: str = "") -> str:
        """Return the image topic, for what needs no calibration.

        Args:
            topic: If the user named one; it is only checked.

        Raises:
            BagError: Ambiguous or missing; lists the topics.
        """
        wanted = SensorTopics(sensor="mono" if topic else "", image=topic)
        return detect_sensor(self.topics, wanted, self._first_message, needed=()).image

    @property
    def num_images(self) -> int:
        """Number of messages on the image topic."""
        return sum(topic.count for topic in self.topics if topic.name == self.sensor.image)

    def check_calibration(self, needs_baseline: bool = False) -> None:
        """Find out before a run that the calibration is of no use.

        Args:
            needs_baseline: Whether that of a stereo pair is to tell how the cameras stand.

        Raises:
            CalibrationError: Says what is wrong with it.
        """
        topics = [self.sensor.camera_info, self.sensor.right_camera_info]
        is_rectified = is_rectified_topic(self.sensor.image)
        cameras = [
            Camera.from_message(self._calibration(topic), is_rectified)
            for topic in topics
            if topic
        ]
        if needs_baseline and len(cameras) == 2:
            try:
                StereoPair.from_cameras(*cameras)
            except CalibrationError as error:
                raise CalibrationError(f"{topics[1]}: {error}") from None

    @property
    def notes(self) -> list[str]:
        """What a person should know of the recording, as far as it has been read."""
        notes = [self._registration_note, self.ground_truth_note]
        for topic in sorted({topic for topic, _ in self._damaged}):
            count = sum(name == topic for name, _ in self._damaged)
            notes.append(f"{count} messages of {topic} cannot be deserialised: passed over")
        return [note for note in notes if note]

    def messages(self, names: Collection[str]) -> Iterator[RecordedMessage]:
        """Yield the messages of the named topics as recorded, in order of time.

        To be ended before anything else is read of a bag, frames included.
        """
        return self._recording.messages(names)

    def frames(
        self,
        *,
        every: int = 1,
        max_frames: int = 0,
        stamps_ns: Collection[int] | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames in order; memory stays bounded whatever the length.

        Images are paired first and thinned out afterwards, so a subset sees the same pairs.

        Args:
            every: Take every so manieth image.
            max_frames: Stop after so many; 0: all.
            stamps_ns: Take only images with these stamps.

        Raises:
            BagError: No usable sensor, or the file is damaged.
        """
        taken = 0
        for frame in self._all_frames():
            if frame.index % every or (stamps_ns is not None and frame.stamp_ns not in stamps_ns):
                continue
            yield frame
            taken += 1
            if taken == max_frames:
                return

    def ground_truth(self) -> Trajectory | None:
        """Return T_world_cam of the ground truth topic; None if there is no such topic.

        Poses are those of the camera, unless the message names a child frame and /tf_static
        leads from it to the camera. Those that are not finite, or whose quaternion is zero (motion
        capture that has lost its body), are left out; `ground_truth_note` counts them, and says
        so where a child frame is taken for the camera because nothing leads to it.
        """
        topic = self.sensor.ground_truth
        if not topic:
            return None
        static = self._static_transforms()
        camera_frame = self._camera_frame()
        stamps, poses, num_bad = [], [], 0
        loose_child = ""
        for message in self._recording.messages((topic,)):
            content = self._read_or_note(message)
            if content is None:
                continue
            T = pose_of(content)
            if not np.isfinite(T).all():
                num_bad += 1
                continue
            child = str(getattr(content, "child_frame_id", "")).lstrip("/")
            T_child_cam = _chain(static, child, camera_frame)
            if child and T_child_cam is None:
                loose_child = child
            stamps.append(_stamp_ns(content) or message.time_ns)
            poses.append(T if T_child_cam is None else T @ T_child_cam)
        notes = []
        if num_bad:
            notes.append(
                f"{num_bad} poses of {topic} were left out: not finite, or a quaternion of zero"
            )
        if loose_child:
            notes.append(
                f"poses of {topic} are of '{loose_child}', from which /tf_static does not lead to "
                f"the camera '{camera_frame or '?'}': taken as the camera's own"
            )
        self.ground_truth_note = "; ".join(notes)
        return make_trajectory(stamps, poses)

    def ground_truth_candidates(self) -> list[str]:
        """Return the topics that call themselves ground truth, to name them when none is used."""
        return ground_truth_candidates(self.topics)

    def base_frame(self) -> str:
        """Return the robot's base frame as /tf and /tf_static name it; empty if they do not."""
        frames = set()
        for transform in self._transforms(include_moving=True):
            frames |= {transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")}
        for name in _BASE_FRAMES:
            if name in frames:
                return name
        return ""

    def _all_frames(self) -> Iterator[Frame]:
        sensor = self.sensor
        needed = (sensor.camera_info, sensor.right_camera_info)
        infos = {topic: self._calibration(topic) for topic in needed if topic}
        if sensor.depth_camera_info:
            infos.setdefault(
                sensor.depth_camera_info, self._first_message(sensor.depth_camera_info)
            )
        pairing: NearestPairing[Frame, Any] = NearestPairing(self._slop_ns)
        names = {sensor.image, sensor.second, *infos} - {""}
        index = 0
        for message in self._recording.messages(names):
            if message.topic in infos:
                infos[message.topic] = self._read_or_note(message) or infos[message.topic]
                continue
            content, error = _read(message)
            stamp_ns = _stamp_ns(content) or message.time_ns
            pairs: list[Pair[Frame, Any]] = []
            if message.topic == sensor.image:
                frame = Frame(
                    index,
                    stamp_ns,
                    content,
                    infos[sensor.camera_info],
                    second_camera_info=infos.get(sensor.second_camera_info),
                    is_stereo=sensor.sensor == "stereo",
                    error=error,
                    is_rectified=is_rectified_topic(sensor.image),
                    topic=sensor.image,
                    second_topic=sensor.second,
                )
                index += 1
                if sensor.second:
                    pairs = pairing.add_first(stamp_ns, frame)
                else:
                    yield frame
            elif not error:
                pairs = pairing.add_second(stamp_ns, content)
            for pair in pairs:
                yield self._paired(pair)
        for pair in pairing.flush():
            yield self._paired(pair)
        if not index:
            raise self._nothing_read(sensor.image)

    def _paired(self, pair: Pair[Frame, Any]) -> Frame:
        frame = dataclasses.replace(pair.first, second=pair.second, gap_ns=pair.gap_ns)
        if pair.second is None and not frame.error:
            topic = self.sensor.second
            nearest = (
                "none has come"
                if pair.gap_ns is None
                else f"the nearest is {pair.gap_ns * 1e-6:+.1f} ms away"
            )
            error = f"{topic}: no message within {self._slop_ns * 1e-6:g} ms, {nearest}"
            frame = dataclasses.replace(frame, error=error)
        return frame

    def _calibration(self, topic: str) -> Any:
        """Return the first calibration: it may come after the first image, or only once.

        Raises:
            BagError: There is none that can be read.
        """
        if _is_file_name(topic):
            return read_calibration(topic)
        info = self._first_message(topic)
        if info is None:
            raise self._nothing_read(topic)
        return info

    def _first_message(self, topic: str) -> Any:
        """Return the first message that can be read; None if there is none."""
        for message in self._recording.messages((topic,)):
            content, _ = _read(message)
            if content is not None:
                return content
        return None

    def _read_or_note(self, message: RecordedMessage) -> Any:
        """Return the message; None, and it is counted, if it cannot be read."""
        content, error = _read(message)
        if error:
            self._damaged.add((message.topic, message.time_ns))
        return content

    def _nothing_read(self, topic: str) -> BagError:
        count = sum(each.count for each in self.topics if each.name == topic)
        return BagError(
            f"{self.path}: no message of {topic} can be read, of {count} that it should hold; if "
            "metadata.yaml does not fit its files, 'ros2 bag reindex' writes it anew"
        )

    @functools.cached_property
    def _registration_note(self) -> str:
        """Return that depth is of another lens than the image, where the recording tells."""
        sensor = self.sensor
        if not sensor.depth_camera_info or not sensor.camera_info:
            return ""
        topics = (sensor.camera_info, sensor.depth_camera_info)
        is_rectified = is_rectified_topic(sensor.image)
        try:
            camera, depth = (
                Camera.from_message(self._calibration(topic), is_rectified) for topic in topics
            )
        except (CalibrationError, BagError):
            return ""  # of the depth's nothing is computed, and the other has been told of
        return why_not_registered(camera, topics[0], depth, topics[1])

    def _camera_frame(self) -> str:
        for topic in (self.sensor.camera_info, self.sensor.image):
            message = None if _is_file_name(topic) else self._first_message(topic)
            if message is not None and message.header.frame_id:
                return str(message.header.frame_id).lstrip("/")
        return ""

    def _transforms(self, include_moving: bool) -> Iterator[Any]:
        """Yield geometry_msgs/TransformStamped of /tf_static, and of the beginning of /tf."""
        for topic in self.topics:
            is_static = topic.name.endswith("/tf_static")
            if topic.msgtype not in TF_TYPES or not (is_static or include_moving):
                continue
            for count, message in enumerate(self._recording.messages((topic.name,))):
                if count >= _MAX_TF_MESSAGES:
                    break
                content = self._read_or_note(message)
                yield from [] if content is None else content.transforms

    def _static_transforms(self) -> dict[str, tuple[str, Array]]:
        """Return child -> (parent, T_parent_child)."""
        return {
            t.child_frame_id.lstrip("/"): (t.header.frame_id.lstrip("/"), _transform(t.transform))
            for t in self._transforms(include_moving=False)
        }


def pose_of(message: Any) -> Array:
    """Return the pose (4, 4) of a PoseStamped, Odometry, ... WithCovariance or Transform.

    NaN if its quaternion is zero.
    """
    if hasattr(message, "transform"):
        return _transform(message.transform)
    pose = message.pose
    while not hasattr(pose, "position"):  # PoseWithCovariance wraps it once more
        pose = pose.pose
    return _pose(pose.position, pose.orientation)


def _read(message: RecordedMessage) -> tuple[Any, str]:
    """Return the message and an empty string, or None and what is wrong with it."""
    try:
        return message.read(), ""
    except BagError as error:
        return None, str(error)


def _stamp_ns(message: Any) -> int:
    """Return the stamp of a message's header; 0 if it has none."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    return 0 if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose(position: Any, rotation: Any) -> Array:
    return recorded_pose(
        np.array([position.x, position.y, position.z]),
        np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
    )


def _transform(transform: Any) -> Array:
    return _pose(transform.translation, transform.rotation)


def _chain(static: dict[str, tuple[str, Array]], target: str, source: str) -> Array | None:
    """Return T_target_source along fixed transforms; None if they do not connect."""

    def to_root(frame: str) -> list[tuple[str, Array]]:
        path, T = [(frame, np.eye(4))], np.eye(4)
        while frame in static and len(path) <= len(static):
            frame, T_parent_child = static[frame]
            T = T_parent_child @ T
            path.append((frame, T))
        return path

    if not target or not source:
        return None
    above_target = dict(to_root(target))
    for frame, T_frame_source in to_root(source):
        if frame in above_target:
            return np.asarray(inverse(above_target[frame]) @ T_frame_source)
    return None


def _is_file_name(value: str) -> bool:
    return value.endswith(_FILE_SUFFIXES)
