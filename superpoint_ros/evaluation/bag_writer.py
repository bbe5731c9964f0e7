# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences as rosbag2 (mcap) recordings, frame by frame: memory stays flat.

Topics: /camera/image_raw, /camera/camera_info; RGB-D adds /camera/depth/image_raw (16UC1,
millimetres, 0 unknown) and /camera/depth/camera_info; stereo has /camera/left/... and
/camera/right/...; the truth is /ground_truth/pose (T_world_cam of the left optical frame).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array
from superpoint_ros.evaluation.synthetic import SequenceConfig, SyntheticFrame, SyntheticSequence
from superpoint_ros.files import check_folder, named
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.se3 import quaternion_from_rotation

TRANSPORTS = ("raw", "png", "jpeg")
_JPEG_QUALITY = 95


def write_bag(
    path: Path | str,
    config: SequenceConfig,
    transport: str = "raw",
    on_frame: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> int:
    """Render a sequence into a bag.

    Args:
        path: A name that ends in .mcap becomes one file, any other a rosbag2 directory.
        config: What to render.
        transport: "raw" sensor_msgs/Image, "png" or "jpeg" sensor_msgs/CompressedImage; depth is
            raw or PNG.
        on_frame: Called with (frames written, frames in all).
        overwrite: Replace a file of that name once the new one is complete; never a directory.

    Returns:
        Number of frames written.

    Raises:
        ConfigError: The path exists already, or a setting makes no sense.
        OSError: It cannot be written there.
    """
    if transport not in TRANSPORTS:
        raise ConfigError(f"transport: {transport!r} is not one of {', '.join(TRANSPORTS)}")
    _check_free(Path(path), overwrite)  # before the room is built, which takes seconds
    sequence = SyntheticSequence(config)
    with named(path), SequenceBagWriter(path, sequence, transport, overwrite) as writer:
        for count, frame in enumerate(sequence, start=1):
            writer.write(frame)
            if on_frame is not None:
                on_frame(count, len(sequence))
    return len(sequence)


def _check_free(path: Path, overwrite: bool) -> None:
    """Check that a bag may be written there.

    Raises:
        ConfigError: Something is there, and is not to be overwritten.
    """
    if path.exists() and not (overwrite and path.is_file()):
        raise ConfigError(f"{path}: exists already; choose another name or remove it")


class SequenceBagWriter:
    """An open bag that takes frames; a context manager. A failed one leaves nothing behind."""

    def __init__(
        self,
        path: Path | str,
        sequence: SyntheticSequence,
        transport: str = "raw",
        overwrite: bool = False,
    ) -> None:
        self._path = Path(path)
        _check_free(self._path, overwrite)
        self._sequence = sequence
        self._transport = transport
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> SequenceBagWriter:
        check_folder(self._path.parent)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside its place and then renamed: an interrupted run leaves no half bag.
        self._scratch = Path(tempfile.mkdtemp(prefix=".rendering_", dir=self._path.parent))
        self._writer = Writer(
            self._scratch / self._path.stem, version=9, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                bag = self._scratch / self._path.stem
                if self._path.suffix == ".mcap":
                    bag = bag / f"{self._path.stem}.mcap"
                bag.replace(self._path)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def write(self, frame: SyntheticFrame) -> None:
        """Write the messages of one frame."""
        sequence = self._sequence
        left, stamp_ns = sequence.camera, frame.stamp_ns
        prefix = "/camera"
        if frame.right_image is not None:
            prefix = "/camera/left"
            right = sequence.right_camera
            self._write_image("/camera/right", frame.right_image, right, stamp_ns)
            self._write_camera_info("/camera/right", right, stamp_ns)
        self._write_image(prefix, frame.image, left, stamp_ns)
        self._write_camera_info(prefix, left, stamp_ns)
        if frame.depth is not None:
            millimetres = np.nan_to_num(frame.depth * 1000.0 + 0.5, nan=0.0)
            depth = np.clip(millimetres, 0, 65535).astype(np.uint16)
            self._write_image("/camera/depth", depth, left, stamp_ns)
            self._write_camera_info("/camera/depth", left, stamp_ns)
        self._write_pose(frame.T_world_cam, stamp_ns)

    def _write_image(self, prefix: str, image: Array, camera: Camera, stamp_ns: int) -> None:
        height, width = image.shape
        is_depth = image.dtype == np.uint16
        header = self._header(stamp_ns, camera.frame_id)
        if self._transport == "raw":
            message = self._make(
                "sensor_msgs/msg/Image",
                header=header,
                height=height,
                width=width,
                encoding="16UC1" if is_depth else "mono8",
                is_bigendian=0,
                step=width * image.itemsize,
                data=np.ascontiguousarray(image).view(np.uint8).ravel(),
            )
            self._write(f"{prefix}/image_raw", message, stamp_ns)
            return
        kind = "png" if is_depth else self._transport
        options = (
            [cv2.IMWRITE_PNG_COMPRESSION, 1]
            if kind == "png"
            else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        _, encoded = cv2.imencode(f".{kind}", image, options)
        # The words of compressed_image_transport and compressed_depth_image_transport's plain PNG.
        encoding = "16UC1" if is_depth else "mono8"
        message = self._make(
            "sensor_msgs/msg/CompressedImage",
            header=header,
            format=f"{encoding}; {kind} compressed {'' if is_depth else encoding}".rstrip(),
            data=np.asarray(encoded, np.uint8).ravel(),
        )
        self._write(f"{prefix}/image_raw/compressed", message, stamp_ns)

    def _write_camera_info(self, prefix: str, camera: Camera, stamp_ns: int) -> None:
        height, width = camera.image_size_hw
        distortion = np.zeros(5)
        distortion[: camera.distortion.size] = camera.distortion
        message = self._make(
            "sensor_msgs/msg/CameraInfo",
            header=self._header(stamp_ns, camera.frame_id),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=distortion,
            k=camera.K.ravel(),
            r=np.eye(3).ravel(),
            p=camera.P.ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._make(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=0,
                y_offset=0,
                height=0,
                width=0,
                do_rectify=False,
            ),
        )
        self._write(f"{prefix}/camera_info", message, stamp_ns)

    def _write_pose(self, T_world_cam: Array, stamp_ns: int) -> None:
        x, y, z = (float(v) for v in T_world_cam[:3, 3])
        qx, qy, qz, qw = (float(v) for v in quaternion_from_rotation(T_world_cam[:3, :3]))
        message = self._make(
            "geometry_msgs/msg/PoseStamped",
            header=self._header(stamp_ns, "world"),
            pose=self._make(
                "geometry_msgs/msg/Pose",
                position=self._make("geometry_msgs/msg/Point", x=x, y=y, z=z),
                orientation=self._make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
            ),
        )
        self._write("/ground_truth/pose", message, stamp_ns)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _make(self, message_type: str, **fields: Any) -> Any:
        return self._types.types[message_type](**fields)

    def _write(self, topic: str, message: Any, stamp_ns: int) -> None:
        message_type = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, message_type, typestore=self._types
            )
        data = self._types.serialize_cdr(message, message_type)
        self._writer.write(self._connections[topic], stamp_ns, data)
