# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topic `path`: where the robot was, bounded in length, built only while somebody looks."""

from __future__ import annotations

from collections import deque
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.node import Node

from superpoint_ros.data import Array
from superpoint_ros.ros.conversions import path_to_message, pose_to_message


class PathPublisher:
    """Collects poses and publishes them together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(Path, "path", 1)
        self._poses: deque[PoseStamped] = deque()

    def add(self, T_odom_child: Array, header: Any, max_length: int) -> None:
        """Append a pose; the oldest ones beyond `max_length` go."""
        self._poses.append(PoseStamped(header=header, pose=pose_to_message(T_odom_child)))
        while len(self._poses) > max_length:
            self._poses.popleft()

    def publish(self, header: Any) -> None:
        """Publish the path if somebody subscribes."""
        if self._publisher.get_subscription_count() > 0:
            self._publisher.publish(path_to_message(self._poses, header))

    def clear(self) -> None:
        """Forget all poses."""
        self._poses.clear()

    def destroy(self) -> None:
        """End the publisher."""
        self._node.destroy_publisher(self._publisher)
