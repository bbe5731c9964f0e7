# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/reference.md says what the code says, and the code what the running nodes do."""

import itertools
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy: make test brings it")
pytest.importorskip("superpoint_ros.msg", reason="messages not built: make msgs")

pytestmark = pytest.mark.ros

REPOSITORY = Path(__file__).resolve().parents[2]
_numbers = itertools.count()
# Topics that stereo alone has.
DEPTH = (("in", "depth/image"), ("in", "depth/camera_info"))
RIGHT = (
    ("in", "right/image"),
    ("in", "right/features"),
    ("in", "right/camera_info"),
    ("out", "right/features"),
)
# What every life-cycle node has, and parameter events.
_COMMON = ("/rosout", "/parameter_events", "transition_event", "/clock", "/tf_static")


def test_the_reference_is_up_to_date():
    from superpoint_ros.ros.documentation import FILE_NAME, reference

    written = (REPOSITORY / "docs" / FILE_NAME).read_text(encoding="utf-8")
    assert written == reference(), "docs are stale: run `make docs`"


@pytest.fixture
def weights(tmp_path):
    from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
    from superpoint_ros.network.weights import ModelCard, save_weights

    config = NetworkConfig(encoder_channels=(8, 8, 8, 8), head_channels=8, descriptor_dim=8)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, SuperPoint(config), ModelCard(name="tiny"))
    return path


def _interface(node):
    """Return {(direction, name, type)} of a node, without what every node has."""
    name, namespace = node.get_name(), node.get_namespace()
    found = set()
    for direction, listing in (
        ("out", node.get_publisher_names_and_types_by_node(name, namespace)),
        ("in", node.get_subscriber_names_and_types_by_node(name, namespace)),
        ("service", node.get_service_names_and_types_by_node(name, namespace)),
    ):
        for topic, kinds in listing:
            if topic.startswith(f"{namespace}/{name}/") or topic.endswith(_COMMON):
                continue
            if (direction, topic) != ("in", "/tf"):  # asked as tf2_ros asks it
                for kind in kinds:
                    package, _, interface = kind.split("/")
                    found.add(
                        (direction, topic.removeprefix(f"{namespace}/"), f"{package}/{interface}")
                    )
    return found


@pytest.mark.parametrize(
    ("name", "parameters", "absent"),
    [
        ("features_node", {}, {("in", "image/compressed"), *RIGHT}),
        ("features_node", {"image_transport": "compressed"}, {("in", "image"), *RIGHT}),
        ("features_node", {"stereo": True}, {("in", "image/compressed")}),
        ("tracker_node", {"odometry.mode": "rgbd"}, {("in", "image"), *RIGHT}),
        (
            "tracker_node",
            {"odometry.mode": "mono"},
            {("in", "image"), *DEPTH, *RIGHT},
        ),
        ("tracker_node", {"odometry.mode": "stereo"}, {("in", "image"), *DEPTH}),
        (
            "tracker_node",
            {"odometry.mode": "homography"},
            {("in", "image"), *DEPTH, *RIGHT},
        ),
    ],
)
def test_the_documented_channels_are_those_of_the_node(name, parameters, absent, context, weights):
    from rclpy.parameter import Parameter

    from superpoint_ros.ros.documentation import CHANNELS
    from superpoint_ros.ros.features_node import FeaturesNode
    from superpoint_ros.ros.tracker_node import TrackerNode

    node_class = {"features_node": FeaturesNode, "tracker_node": TrackerNode}[name]
    values = dict(parameters)
    if name == "features_node":
        values["weights"] = str(weights)
    overrides = [Parameter(key, value=value) for key, value in values.items()]
    # The graph may still know the node of the test before: each has a namespace of its own.
    namespace = f"reference_{next(_numbers)}"
    node = node_class(context=context, parameter_overrides=overrides, namespace=namespace)
    try:
        node.start()
        documented = {
            (c.direction, c.name, c.kind)
            for c in CHANNELS
            if c.node == name and (c.direction, c.name) not in absent
        }
        end = time.monotonic() + 60.0
        while (found := _interface(node)) != documented:
            assert time.monotonic() < end, found ^ documented
            time.sleep(0.05)
    finally:
        node.stop_work()
        node.destroy_node()
