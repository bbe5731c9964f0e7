# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny bags: lists of (topic, record time, message) written by rosbags in each format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

HEIGHT, WIDTH = 24, 40
Entry = tuple[str, int, Any]  # topic, record time, message


class Messages:
    """Makes messages of one ROS generation."""

    def __init__(self, storage: str) -> None:
        self.is_ros1 = storage == "ros1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.is_ros1 else Stores.ROS2_JAZZY)
        if self.is_ros1:  # rosbags' ROS 1 store holds the core messages only
            text = "geometry_msgs/TransformStamped[] transforms"
            self.store.register(get_types_from_msg(text, "tf2_msgs/msg/TFMessage"))

    def make(self, msgtype: str, **fields: Any) -> Any:
        return self.store.types[msgtype](**fields)

    def header(self, stamp_ns: int, frame_id: str = "camera") -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        extra = {"seq": 0} if self.is_ros1 else {}
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id, **extra)

    def image(self, stamp_ns: int, pixels: np.ndarray, encoding: str, frame_id="camera") -> Any:
        return self.make(
            "sensor_msgs/msg/Image",
            header=self.header(stamp_ns, frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def compressed(self, stamp_ns: int, pixels: np.ndarray, suffix: str = ".png") -> Any:
        data = cv2.imencode(suffix, pixels)[1].reshape(-1)
        return self.make(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(stamp_ns),
            format=suffix[1:],
            data=data,
        )

    def camera_info(self, stamp_ns: int, fx: float = 30.0, size_hw=(HEIGHT, WIDTH)) -> Any:
        roi = self.make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        K = np.array([fx, 0, 20, 0, fx, 12, 0, 0, 1], np.float64)
        P = np.array([fx, 0, 20, 0, 0, fx, 12, 0, 0, 0, 1, 0], np.float64)
        arrays = {"d": np.zeros(5), "k": K, "r": np.eye(3).ravel(), "p": P}
        if self.is_ros1:
            arrays = {name.upper(): value for name, value in arrays.items()}
        return self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp_ns),
            height=size_hw[0],
            width=size_hw[1],
            distortion_model="plumb_bob",
            binning_x=0,
            binning_y=0,
            roi=roi,
            **arrays,
        )

    def pose(self, position: Sequence[float], xyzw: Sequence[float] = (0, 0, 0, 1)) -> Any:
        point = dict(zip("xyz", map(float, position), strict=True))
        rotation = dict(zip("xyzw", map(float, xyzw), strict=True))
        return self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", **point),
            orientation=self.make("geometry_msgs/msg/Quaternion", **rotation),
        )

    def pose_stamped(self, stamp_ns: int, position: Sequence[float]) -> Any:
        return self.make(
            "geometry_msgs/msg/PoseStamped",
            header=self.header(stamp_ns, "world"),
            pose=self.pose(position),
        )

    def transform_stamped(
        self,
        stamp_ns: int,
        parent: str,
        child: str,
        translation: Sequence[float],
        xyzw: Sequence[float] = (0, 0, 0, 1),
    ) -> Any:
        vector = dict(zip("xyz", map(float, translation), strict=True))
        rotation = dict(zip("xyzw", map(float, xyzw), strict=True))
        return self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp_ns, parent),
            child_frame_id=child,
            transform=self.make(
                "geometry_msgs/msg/Transform",
                translation=self.make("geometry_msgs/msg/Vector3", **vector),
                rotation=self.make("geometry_msgs/msg/Quaternion", **rotation),
            ),
        )

    def write(self, path: Path, storage: str, entries: Sequence[Entry]) -> Path:
        """Write a bag; bytes instead of a message go in as they are, as the type before them."""
        if self.is_ros1:
            path = path.with_suffix(".bag")
            writer: Any = Writer1(path)
        else:
            writer = Writer2(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        serialize = self.store.serialize_ros1 if self.is_ros1 else self.store.serialize_cdr
        connections: dict[str, Any] = {}
        with writer:
            for topic, time_ns, message in entries:
                if topic not in connections:
                    connections[topic] = writer.add_connection(
                        topic, message.__msgtype__, typestore=self.store
                    )
                data = (
                    message
                    if isinstance(message, bytes)
                    else serialize(message, message.__msgtype__)
                )
                writer.write(connections[topic], time_ns, data)
        return path


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


@pytest.fixture
def depth_picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(500, 5000, (HEIGHT, WIDTH), dtype=np.uint16)


@pytest.fixture
def write_bag(tmp_path: Path) -> Callable[..., Path]:
    """Write the entries that a function makes of `Messages` of the storage's ROS generation."""

    def write(
        make_entries: Callable[[Messages], Sequence[Entry]],
        storage: str = "mcap",
        name: str = "bag",
    ) -> Path:
        messages = Messages(storage)
        return messages.write(tmp_path / name, storage, make_entries(messages))

    return write
