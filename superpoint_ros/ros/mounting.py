# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finds out where the camera sits on its robot: from a parameter, from TF, or nowhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node

from superpoint_ros.data import Array
from superpoint_ros.ros.compat import (
    StandInTransformBuffer,
    bare_frame,
    make_transform_buffer,
)
from superpoint_ros.ros.frames import R_BODY_OPTICAL, Mounting
from superpoint_ros.ros.log import Problems

_CURE = "publish it (static_transform_publisher), set camera_in_base"


class MountingFinder:
    """Answers what the odometry is published as.

    Args:
        node: Whose TF is asked.
        base_frame: Frame whose pose is wanted; empty: the camera's own.
        T_base_cam: Where the optical frame sits in it (4, 4); None: TF knows.
        tf_timeout: How long TF may take from the first question on, seconds.
        problems: Hears of a TF tree that cannot answer.
        odom_frame: The parent that the odometry gives to what it publishes.

    Attributes:
        mounting: The answer; None: not known yet.
        may_send_tf: Whether what is published has no other parent in TF.
    """

    def __init__(
        self,
        node: Node,
        base_frame: str,
        T_base_cam: Array | None,
        tf_timeout: float,
        problems: Problems,
        odom_frame: str = "odom",
    ) -> None:
        self.mounting: Mounting | None = None
        self.may_send_tf = True
        self._camera_frame = ""  # that `mounting` is of
        self._node = node
        self._base_frame = base_frame
        self._T_base_cam = T_base_cam
        self._tf_timeout = tf_timeout
        self._deadline: float | None = None
        self._problems = problems
        self._odom_frame = odom_frame
        self._tf_buffer: Any = None
        # What others say of the camera while the odometry says where it is; tf2's buffer would
        # keep only one of the two parents.
        self._others: StandInTransformBuffer | None = None
        if base_frame and T_base_cam is None:
            self._tf_buffer = make_transform_buffer(node)
        elif not base_frame:
            self._listen_to_others()

    @property
    def depends_on_tf(self) -> bool:
        """Whether the answer is still to come from TF."""
        return self.mounting is None and self._tf_buffer is not None

    def find(self, camera_frame: str, is_working: Callable[[], bool]) -> Mounting | None:
        """Return the answer, waiting a little for TF if it is not known yet.

        To be asked for every frame, for the answer may change: images may name another frame, and
        TF may hear late of a camera that was taken to be alone.

        Args:
            camera_frame: Optical frame that the images name; may be empty.
            is_working: Whether it is still worth to wait.

        Returns:
            None if TF knows the camera, but not on this base, or if the wait was given up.
        """
        camera_frame = bare_frame(camera_frame)
        if self.mounting is not None and camera_frame != self._camera_frame:
            self._node.get_logger().warning(
                f"images name the frame '{camera_frame}' now, '{self._camera_frame}' before: "
                "another camera, a new map starts"
            )
            self.mounting, self._deadline, self.may_send_tf = None, None, True
            self._problems.clear("tf")  # it was of the other camera
        if self.mounting is None:
            self._camera_frame = camera_frame
            self.mounting = self._find(camera_frame, is_working)
        elif self._others is not None and camera_frame:
            self.mounting = self._look_again(self.mounting, camera_frame)
        return self.mounting

    def destroy(self) -> None:
        """End the subscriptions."""
        for buffer in (self._tf_buffer, self._others):
            if buffer is not None:
                buffer.destroy()

    def _listen_to_others(self) -> None:
        if self._others is None:
            with contextlib.suppress(ImportError):  # without tf2_msgs there is no TF at all
                self._others = StandInTransformBuffer(self._node, bare_frame(self._odom_frame))

    def _find(self, camera_frame: str, is_working: Callable[[], bool]) -> Mounting | None:
        base = self._base_frame
        if self._T_base_cam is not None and base:
            return Mounting.on_base(base, self._T_base_cam)
        if not camera_frame:
            self._node.get_logger().warning(
                "images have no frame_id: the camera is taken to look ahead from the origin of "
                f"{base or 'camera'}; let the driver name its frame, or set camera_in_base"
            )
            T_base_cam = np.eye(4)
            T_base_cam[:3, :3] = R_BODY_OPTICAL
            return Mounting.on_base(base or "camera", T_base_cam)
        if not base:
            return Mounting.of_camera(camera_frame)
        return self._look_up(camera_frame, is_working)

    def _look_up(self, camera_frame: str, is_working: Callable[[], bool]) -> Mounting | None:
        base = self._base_frame
        if self._deadline is None:
            self._deadline = time.monotonic() + self._tf_timeout
        buffer = self._others or self._tf_buffer
        while True:
            T_base_cam = buffer.lookup(base, camera_frame)
            if T_base_cam is not None:
                self._problems.clear("tf")
                return Mounting.on_base(base, T_base_cam)
            if not is_working():
                return None
            if time.monotonic() > self._deadline:
                break
            time.sleep(0.02)
        if buffer.has_frame(camera_frame):
            self._report_unconnected(camera_frame, buffer.ancestors(camera_frame))
            return None
        self._node.get_logger().warning(
            f"TF has no {base} <- {camera_frame}: the pose of {camera_frame} itself is "
            f"published; to publish that of {base}, {_CURE}"
        )
        self._listen_to_others()
        return Mounting.of_camera(camera_frame)

    def _report_unconnected(self, camera_frame: str, ancestors: list[str]) -> None:
        # The camera has a parent already: a second one (odom) would break the robot's tree.
        other = ""
        if ancestors:
            other = f", or base_frame:={ancestors[-1]} for the pose of that"
        self._problems.report(
            "tf",
            f"TF does not connect {self._base_frame} and {camera_frame}: no odometry; "
            f"{_CURE}{other}",
        )

    def _look_again(self, mounting: Mounting, camera_frame: str) -> Mounting | None:
        """Return the answer after what TF has said since then of a camera published itself."""
        assert self._others is not None
        base = self._base_frame
        if mounting.child_frame != camera_frame:
            return mounting
        ancestors = self._others.ancestors(camera_frame)
        if not ancestors:
            return mounting
        if not base:
            self.may_send_tf = False
            self._problems.report(
                "tf",
                f"{camera_frame} hangs on {ancestors[0]} in TF: its odometry is published, but "
                "not on /tf, where a frame has one parent; set base_frame:="
                f"{ancestors[-1]} for that, or publish_tf:=false",
            )
            return mounting
        T_base_cam = self._others.lookup(base, camera_frame)
        if T_base_cam is None:
            self._report_unconnected(camera_frame, ancestors)
            return None
        self._node.get_logger().error(
            f"TF knows {base} <- {camera_frame} only now: the pose of {base} is published from "
            "here on, with a new map; start what publishes it earlier, or raise tf_timeout"
        )
        self._problems.clear("tf")
        return Mounting.on_base(base, T_base_cam)
