# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Both nodes in one process: features are handed over by reference, not through DDS.

Every topic is still there for whoever subscribes. Parameters and remappings address the two nodes
by their own names. Run: `python -m superpoint_ros.ros.vo_node --ros-args ...`
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.machine import prepare_process
    from superpoint_ros.ros.signals import leave_quietly_while_importing

    leave_quietly_while_importing()
    prepare_process()

import sys
from collections.abc import Sequence
from typing import Any

from superpoint_ros.config import ConfigError, settings
from superpoint_ros.data import Features
from superpoint_ros.ros.features_node import FeaturesConfig, FeaturesNode
from superpoint_ros.ros.observing import LocalFeatures
from superpoint_ros.ros.runner import ManagedNode, run
from superpoint_ros.ros.tracker_node import TrackerConfig, TrackerNode

NODE_NAME = "vo_node"


def make_nodes() -> list[ManagedNode[Any]]:
    """Return the two nodes, joined.

    Raises:
        ConfigError: A wrong parameter; a name is wrong if neither node knows it. Or one name for
            both nodes.
    """
    of_features = {setting.name for setting in settings(FeaturesConfig)}
    of_tracker = {setting.name for setting in settings(TrackerConfig)}
    features_node = FeaturesNode(known_elsewhere=of_tracker)
    tracker_node = TrackerNode(known_elsewhere=of_features)
    if features_node.get_name() == tracker_node.get_name():
        raise ConfigError(
            f"both nodes are named {tracker_node.get_name()}: do not name the process; for one "
            "node use -r tracker_node:__node:=NAME"
        )
    tracker_node.takes_features_by_topic = False

    def hand_over(
        header: Any, features: Features, latency_ms: float, right: Features | None
    ) -> None:
        tracker_node.take_features(LocalFeatures(header, features, latency_ms, right))

    features_node.listeners.append(hand_over)
    # The tracker first: it is ready when the first features come.
    return [tracker_node, features_node]


def main(args: Sequence[str] | None = None) -> int:
    """Run both nodes; return the exit code."""
    return run(make_nodes, NODE_NAME, args)


if __name__ == "__main__":
    sys.exit(main())
