# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hears what our nodes say in /diagnostics and prints it as one JSON object.

`superpoint doctor` makes sentences of it. The cameras of the graph are named too, for whoever has
not told the nodes theirs.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.ros.signals import EXIT_INTERRUPTED, leave_quietly_while_importing

    leave_quietly_while_importing(EXIT_INTERRUPTED)

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import get_rmw_implementation_identifier, remove_ros_args

from superpoint_ros.ros.links import find_gaps, read_report
from superpoint_ros.ros.runner import run_tool
from superpoint_ros.ros.signals import EXIT_INTERRUPTED

_IMAGE_TYPES = frozenset({"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"})
_SPIN_S = 0.1
EXIT_OK = 0


class Doctor:
    """Listens; the last report of each node counts."""

    def __init__(self) -> None:
        self._node = Node("superpoint_doctor", enable_rosout=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=50)
        )

    def listen(self, seconds: float, stop: threading.Event) -> None:
        """Hear what comes until the time is over, or `stop` is set."""
        end = time.monotonic() + seconds
        while not stop.is_set() and (left := end - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=min(left, _SPIN_S))

    def summary(self) -> dict[str, Any]:
        """Return what was heard.

        Returns:
            `nodes` (name, problem, values), `gaps` (a sentence for each pair of our own ends that
            have not found each other), `twins` (names that several nodes have), `cameras` (image
            topic -> publishers), and where it listened: `domain`, `range`, `rmw`.
        """
        reports = {name: read_report(status) for name, status in self._statuses.items()}
        ours = {name: report for name, report in reports.items() if report is not None}
        names = self._node.get_node_names_and_namespaces()
        counted = Counter(f"{space.rstrip('/')}/{name}" for name, space in names)
        return {
            "domain": self._node.context.get_domain_id(),
            "range": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", ""),
            "rmw": get_rmw_implementation_identifier(),
            "nodes": [
                {
                    "name": report.name,
                    "problem": report.problem,
                    "values": {each.key: each.value for each in self._statuses[name].values},
                }
                for name, report in sorted(ours.items())
            ],
            "gaps": find_gaps(list(ours.values()), {}, (), (), self._node.get_name()),
            "twins": sorted(r.name for r in ours.values() if counted[r.name] > 1),
            "cameras": self._find_cameras([report.name for report in ours.values()]),
        }

    def close(self) -> None:
        """End the node."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _on_diagnostics(self, message: Any) -> None:
        self._statuses.update({status.name: status for status in message.status})

    def _find_cameras(self, own: Sequence[str]) -> dict[str, int]:
        """Return image topic -> publishers that are no nodes of ours."""
        cameras = {}
        for topic, types in self._node.get_topic_names_and_types():
            if _IMAGE_TYPES.isdisjoint(types):
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            names = [f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers]
            others = [name for name in names if name not in own]
            if others:
                cameras[topic] = len(others)
        return cameras


def main(args: Sequence[str] | None = None) -> int:
    """Listen and print; see the module's docstring."""
    argv = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(prog="doctor", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(remove_ros_args(["", *argv])[1:])

    def listen(stop: threading.Event) -> int:
        doctor = Doctor()
        doctor.listen(options.seconds, stop)
        print(json.dumps(doctor.summary()))
        doctor.close()
        return EXIT_INTERRUPTED if stop.is_set() else EXIT_OK

    return run_tool("superpoint doctor", argv, listen)


if __name__ == "__main__":
    sys.exit(main())
