# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A config tree as parameters: declared, described, checked, changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.parameter import Parameter

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.ros.parameters import NodeParameters

pytestmark = pytest.mark.ros


@dataclass(frozen=True)
class Inner(Config):
    radius: float = option(4.0, "search radius, pixels", minimum=0.5, dynamic=True)
    kind: str = option("a", "which", choices=("a", "b"), dynamic=True)


@dataclass(frozen=True)
class Outer(Config):
    count: int = option(3, "how many", minimum=1, maximum=9)
    pose: tuple[float, ...] = option((), "seven numbers or none")
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.fixture
def declare(domain):
    """Return a function that makes a node with overrides and declares `Outer`."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    nodes = []

    def make(changes=None, **overrides):
        values = [Parameter(name.replace("__", "."), value=v) for name, v in overrides.items()]
        node = rclpy.create_node(
            "n",
            context=context,
            parameter_overrides=values,
            automatically_declare_parameters_from_overrides=True,
            enable_rosout=False,
            start_parameter_services=False,
        )
        nodes.append(node)
        on_change = None if changes is None else changes.append
        return node, NodeParameters(node, Outer, on_change)

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_defaults_and_overrides(declare):
    node, parameters = declare(count=5, inner__radius=2, pose=[1, 2, 3])
    assert parameters.config == Outer(count=5, pose=(1.0, 2.0, 3.0), inner=Inner(radius=2.0))
    assert node.get_parameter("inner.radius").value == 2.0
    assert list(node.get_parameter("pose").value) == [1.0, 2.0, 3.0]
    _, parameters = declare()
    assert parameters.config == Outer()


def test_an_empty_list_is_a_value(declare):
    """A parameter without one would make `ros2 param dump` come back with nothing at all."""
    node, _ = declare()
    count, pose = node.get_parameters(["count", "pose"])
    assert (count.value, list(pose.value), pose.type_) == (3, [], Parameter.Type.DOUBLE_ARRAY)
    described = node.describe_parameter("pose")
    assert (described.description, described.read_only) == ("seven numbers or none", True)
    result = node.set_parameters_atomically([Parameter("pose", value=[1.0])])
    assert not result.successful
    assert "read-only" in result.reason


def test_descriptors(declare):
    node, _ = declare()
    count = node.describe_parameter("count")
    assert (count.description, count.read_only) == ("how many", True)
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 9)
    radius = node.describe_parameter("inner.radius")
    assert not radius.read_only
    assert radius.floating_point_range[0].from_value == 0.5
    assert "a, b" in node.describe_parameter("inner.kind").description


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"count": 10}, "count: 10 is above the maximum 9"),
        ({"count": 2.5}, "count: expected int"),
        ({"inner__radius": "wide"}, "inner.radius: expected float"),
        ({"inner__kind": "c"}, "inner.kind: 'c' is not one of a, b"),
        ({"pose": "none"}, "pose: expected a list"),
        ({"inner__radiu": 2.0}, "inner.radiu: unknown parameter; did you mean inner.radius"),
        ({"radius": 2.0}, "did you mean inner.radius"),
        (
            {"qos_overrides./image.subscription.depth": 5},
            "unknown parameter; QoS follows the publishers, or set image_reliability",
        ),
    ],
)
def test_wrong_overrides(declare, overrides, words):
    with pytest.raises(ConfigError) as error:
        declare(**overrides)
    assert words in str(error.value)


def test_changes_while_running(declare):
    changes = []
    node, parameters = declare(changes, count=5)

    def set_all(**values):
        return node.set_parameters_atomically(
            [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        )

    assert set_all(inner__radius=7.0, inner__kind="b").successful
    assert parameters.config == Outer(count=5, inner=Inner(7.0, "b"))
    assert changes == [parameters.config]
    result = set_all(inner__radius=8.0, inner__kind="c")
    assert not result.successful
    assert "a, b" in result.reason
    assert not set_all(inner__radius=0.1).successful
    assert not set_all(count=6).successful
    assert parameters.config.inner.radius == 7.0
    assert len(changes) == 1
