# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finds out once where the camera sits on its robot: from a parameter, from TF, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node

from superpoint_ros.data import Array
from superpoint_ros.ros.compat import make_transform_buffer
from superpoint_ros.ros.frames import R_BODY_OPTICAL, Mounting
from superpoint_ros.ros.log import Problems


class MountingFinder:
    """Answers what the odometry is published as.

    Args:
        node: Whose TF is asked.
        base_frame: Frame whose pose is wanted; empty: the camera's own.
        T_base_cam: Where the optical frame sits in it (4, 4); None: TF knows.
        tf_timeout: How long TF may take from the first question on, seconds.
        problems: Hears of a TF tree that cannot answer.

    Attributes:
        mounting: The answer; None: not known yet.
    """

    def __init__(
        self,
        node: Node,
        base_frame: str,
        T_base_cam: Array | None,
        tf_timeout: float,
        problems: Problems,
    ) -> None:
        self.mounting: Mounting | None = None
        self._node = node
        self._base_frame = base_frame
        self._T_base_cam = T_base_cam
        self._tf_timeout = tf_timeout
        self._deadline: float | None = None
        self._problems = problems
        self._tf_buffer: Any = None
        if base_frame and T_base_cam is None:
            self._tf_buffer = make_transform_buffer(node)

    @property
    def depends_on_tf(self) -> bool:
        """Whether the answer is still to come from TF."""
        return self.mounting is None and self._tf_buffer is not None

    def find(self, camera_frame: str, is_working: Callable[[], bool]) -> Mounting | None:
        """Return the answer, waiting a little for TF if it is not known yet.

        Args:
            camera_frame: Optical frame that the images name; may be empty.
            is_working: Whether it is still worth to wait.

        Returns:
            None if TF knows the camera, but not on this base.
        """
        if self.mounting is None:
            self.mounting = self._find(camera_frame, is_working)
        return self.mounting

    def destroy(self) -> None:
        """End the subscriptions."""
        if self._tf_buffer is not None:
            self._tf_buffer.destroy()

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
        while True:
            T_base_cam = self._tf_buffer.lookup(base, camera_frame)
            if T_base_cam is not None:
                self._problems.clear("tf")
                return Mounting.on_base(base, T_base_cam)
            if time.monotonic() > self._deadline or not is_working():
                break
            time.sleep(0.02)
        # In quotes that survive a shell: rcl takes no empty value.
        cure = "publish it (static_transform_publisher), set camera_in_base, or base_frame:=\"''\""
        if self._tf_buffer.has_frame(camera_frame):
            # The camera has a parent already: a second one (odom) would break the robot's tree.
            self._problems.report(
                "tf", f"TF does not connect {base} and {camera_frame}: no odometry; {cure}"
            )
            return None
        self._node.get_logger().warning(
            f"TF has no {base} <- {camera_frame}: the pose of {camera_frame} itself is "
            f"published; to publish that of {base}, {cure.split(', or')[0]}"
        )
        return Mounting.of_camera(camera_frame)
