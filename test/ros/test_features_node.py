# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The features node in this process: images in its hands, and a camera that is silent."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from superpoint_ros.ros.conversions import image_to_message, make_header
from superpoint_ros.ros.features_node import FeaturesNode

pytestmark = pytest.mark.ros


@pytest.fixture
def make_node(make_in_process, tiny_weights):
    defaults = {"weights": str(tiny_weights)}
    return lambda **parameters: make_in_process(FeaturesNode, {**defaults, **parameters})


@pytest.fixture
def node(make_node):
    return make_node()


def test_a_camera_that_is_there_but_silent_is_reported(node, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr("superpoint_ros.ros.features_node.time.monotonic", lambda: now)
    node.create_publisher(Image, "image", 1)
    node.trigger_configure()
    now += 60.0
    node._refresh()
    assert not node.problems.sentences()  # it is not active, so nothing should come
    node.trigger_activate()
    node._refresh()
    assert not node.problems.sentences()
    now += 3.5
    node._refresh()
    topic = node.resolve_topic_name("image")
    assert f"nothing has come on {topic} for 3 s" in node.problems.sentences()["topic"]
    image = np.zeros((48, 80), np.uint8)
    node._on_image(image_to_message(image, make_header(1, "camera")))
    node._refresh()
    assert "topic" not in node.problems.sentences()


def test_images_are_left_alone_while_nobody_listens_unless_it_is_asked_for(node):
    node.start()
    image = image_to_message(np.zeros((48, 80), np.uint8), make_header(1, "camera"))
    node._on_image(image)
    assert (node.counters["received"], node.counters["idle"]) == (1, 1)
    assert node.set_parameters([Parameter("always_extract", value=True)])[0].successful
    image.header.stamp.sec = 2
    node._on_image(image)
    assert node.counters["idle"] == 1
    end = time.monotonic() + 60.0
    while node.counters["published"] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert node.counters["published"] == 1


def test_only_the_newest_image_waits_for_the_network(node):
    node.start()
    seconds, is_in_hand, may_go_on = [], threading.Event(), threading.Event()

    def listen(header, *extracted):
        seconds.append(header.stamp.sec)
        is_in_hand.set()
        assert may_go_on.wait(10.0)

    node.listeners.append(listen)
    for second in (1, 2, 3, 4, 5):
        header = make_header(second * 1_000_000_000, "camera")
        node._on_image(image_to_message(np.zeros((48, 80), np.uint8), header))
        assert is_in_hand.wait(10.0)
    assert node.counters["dropped"] == 3
    may_go_on.set()
    end = time.monotonic() + 10.0
    while node.counters["published"] < 2 and time.monotonic() < end:
        time.sleep(0.005)
    assert seconds == [1, 5]


@pytest.mark.parametrize(("stereo", "depth"), [(False, 1), (True, 5)])
def test_no_more_images_wait_in_the_middleware_than_needed(make_node, stereo, depth):
    """Those of a pair wait for each other."""
    node = make_node(stereo=stereo)
    node.start()
    depths = {each.topic_name: each.qos_profile.depth for each in node.subscriptions}
    names = ["image", "right/image"] if stereo else ["image"]
    assert [depths[node.resolve_topic_name(name)] for name in names] == [depth] * len(names)
