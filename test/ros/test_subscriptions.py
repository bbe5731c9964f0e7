# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A subscription follows its publishers, and says in one sentence why nothing can come."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from superpoint_ros.ros.links import JOINING
from superpoint_ros.ros.subscriptions import MatchingSubscription, transport_topic

pytestmark = pytest.mark.ros

TOPIC = "/front/image"
RELIABLE = QoSProfile(depth=1)


@pytest.fixture
def make_node(monkeypatch, domain):
    """Each node has a participant of its own, as in a process of its own."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    nodes = []

    def make(name, *arguments):
        context = rclpy.Context()
        rclpy.init(args=["--ros-args", *arguments], context=context, domain_id=domain)
        nodes.append(rclpy.create_node(name, context=context, namespace="superpoint"))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
        node.context.try_shutdown()


@pytest.fixture
def camera(make_node):
    return make_node("camera")


@pytest.fixture
def node(make_node):
    return make_node(
        "listener",
        *("-r", "image:=/front/image", "-r", "other:=/rear/image"),
        *("-r", "other/compressed:=/rear/jpeg"),
    )


def subscribe(node, reliability="auto", message_type=Image):
    return MatchingSubscription(
        node, message_type, "image", lambda message: None, 1, reliability=reliability
    )


def wait(condition, timeout=30.0):
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_topic_that_nobody_publishes(node, camera):
    subscription = subscribe(node)
    nobody = f"nobody publishes {TOPIC}: start the camera or remap the topic"
    assert subscription.refresh() == nobody
    assert subscription.state == JOINING
    publisher = camera.create_publisher(Image, TOPIC, RELIABLE)
    assert wait(lambda: subscription.refresh() is None)
    camera.destroy_publisher(publisher)
    assert wait(lambda: subscription.refresh() == nobody)


def test_a_topic_of_another_type(node, camera):
    subscription = subscribe(node, message_type=CompressedImage)
    camera.create_publisher(Image, TOPIC, RELIABLE)
    sentence = (
        f"{TOPIC} carries sensor_msgs/msg/Image, not sensor_msgs/msg/CompressedImage: set the "
        "transport parameter or remap the topic"
    )
    assert wait(lambda: subscription.refresh() == sentence), subscription.refresh()


def test_best_effort_does_not_reach_a_reliable_subscription(node, camera):
    subscription = subscribe(node, "reliable")
    publisher = camera.create_publisher(Image, TOPIC, qos_profile_sensor_data)
    sentence = (
        f"{TOPIC} is published best effort, but is subscribed reliable: set the reliability "
        "parameter to auto"
    )
    assert wait(lambda: subscription.refresh() == sentence), subscription.refresh()
    camera.destroy_publisher(publisher)
    camera.create_publisher(Image, TOPIC, RELIABLE)
    assert wait(lambda: subscription.refresh() is None)


@pytest.mark.parametrize(
    ("reliability", "profile", "state"),
    [
        ("auto", RELIABLE, "reliable"),
        ("auto", qos_profile_sensor_data, "best_effort"),
        ("best_effort", RELIABLE, "best_effort"),
    ],
)
def test_the_reliability_follows_the_publisher(node, camera, reliability, profile, state):
    subscription = subscribe(node, reliability)
    camera.create_publisher(Image, TOPIC, profile)
    assert wait(lambda: subscription.refresh() is None and subscription.state == state)
    subscription.destroy()


def test_what_was_published_once_is_heard_later(node, camera):
    """A latched camera_info, as of a calibration file."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = camera.create_publisher(Image, TOPIC, latched)
    publisher.publish(Image(width=7))
    heard = []
    subscription = MatchingSubscription(node, Image, "image", heard.append, 1)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def has_come():
        subscription.refresh()
        executor.spin_once(timeout_sec=0.02)
        return bool(heard)

    assert wait(has_come)
    assert heard[0].width == 7
    executor.shutdown()


def test_the_topic_of_a_transport(node):
    assert transport_topic(node, "image", "raw") == "/front/image"
    assert transport_topic(node, "image", "compressed") == "/front/image/compressed"
    assert transport_topic(node, "other", "compressed") == "/rear/jpeg"  # the full name wins
    assert transport_topic(node, "third", "compressed") == "/superpoint/third/compressed"
