# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tracker node in this process, its threads held still where a test needs it."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

import rclpy
import rclpy.executors
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from superpoint_ros.data import Features
from superpoint_ros.ros import conversions
from superpoint_ros.ros.observing import LocalFeatures
from superpoint_ros.ros.tracker_node import TrackerNode

pytestmark = pytest.mark.ros

SIZE_HW = (48, 80)
K = np.array([[60.0, 0.0, 39.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
SECOND = 1_000_000_000


@pytest.fixture
def make_node(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=1 + os.getpid() % 100)
    nodes = []

    def make(**parameters):
        values = {"odometry.mode": "homography", **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = TrackerNode(context=context, parameter_overrides=overrides)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.stop_work()
        node.destroy_node()
    context.try_shutdown()


def local_features(stamp_ns, count=60):
    rng = np.random.default_rng(7)
    descriptors = rng.standard_normal((count, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform((2, 2), (SIZE_HW[1] - 3, SIZE_HW[0] - 3), (count, 2))
    features = Features(
        keypoints.astype(np.float32), np.ones(count, np.float32), descriptors, SIZE_HW
    )
    return LocalFeatures(conversions.make_header(stamp_ns, "camera"), features, 1.0)


def depth_message(stamp_ns):
    message = conversions.image_to_message(
        np.full((SIZE_HW[0], 2 * SIZE_HW[1]), 4, np.uint8),  # 0x0404 = 1028 mm
        conversions.make_header(stamp_ns, "camera"),
    )
    message.encoding, message.width = "16UC1", SIZE_HW[1]
    return message


def start(node):
    node.start()
    height, width = SIZE_HW
    node._on_camera_info(CameraInfo(height=height, width=width, k=K.ravel()))
    node._odometry_stamps = []
    track = node._odometry.track

    def record(observation):
        result = track(observation)
        node._odometry_stamps.append(observation.stamp_ns)
        return result

    node._odometry.track = record


def wait(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def hold(node):
    """Stop the worker before its next observation; return (it is there, it may go on)."""
    is_in_hand, may_go_on = threading.Event(), threading.Event()
    make = node._observations.make

    def make_slowly(*arguments):
        is_in_hand.set()
        assert may_go_on.wait(10.0)
        return make(*arguments)

    node._observations.make = make_slowly
    return is_in_hand, may_go_on


def test_a_frame_in_hand_when_time_jumps_back_does_not_swallow_the_reset(make_node):
    node = make_node(base_frame="")
    start(node)
    is_in_hand, may_go_on = hold(node)
    node.take_features(local_features(100 * SECOND))
    assert is_in_hand.wait(10.0)
    for stamp_ns in (1 * SECOND, 2 * SECOND):  # the bag loops
        node.take_features(local_features(stamp_ns))
    may_go_on.set()
    assert wait(lambda: node._odometry_stamps[-2:] == [1 * SECOND, 2 * SECOND])
    assert node.counters["resets"] == 1
    assert node.counters["dropped"] == 1


def test_depth_that_pairs_out_of_order_makes_a_late_frame(make_node):
    """At 100 Hz and a slop of 20 ms a depth image may fit the frame before the last one."""
    node = make_node(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    ms = 1_000_000
    for stamp_ns in (SECOND, SECOND + 10 * ms):
        node.take_features(local_features(stamp_ns))
    for stamp_ns in (SECOND + 12 * ms, SECOND + 15 * ms):
        node._on_partner(depth_message(stamp_ns))
    assert wait(lambda: node.counters["late"] == 1)
    assert node._odometry_stamps == [SECOND + 10 * ms]


def test_tf_can_be_switched_on_later(make_node):
    node = make_node(**{"odometry.mode": "rgbd", "base_frame": "", "publish_tf": False})
    start(node)
    sent = []
    node.create_subscription(TFMessage, "/tf", sent.append, 10)
    assert node.count_publishers("/tf") == 0
    result = node.set_parameters([Parameter("publish_tf", value=True)])[0]
    assert result.successful, result.reason
    assert wait(lambda: node.count_publishers("/tf") == 1)
    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for number in range(1, 100):
        node.take_features(local_features(number * SECOND // 10))
        node._on_partner(depth_message(number * SECOND // 10))
        executor.spin_once(timeout_sec=0.05)
        if sent:
            break
    executor.shutdown()
    assert sent[0].transforms[0].child_frame_id == "camera"


def test_cleanup_leaves_nothing_behind(make_node):
    node = make_node(**{"odometry.mode": "rgbd"})

    def count():
        of_node = (node.publishers, node.subscriptions, node.services, node.timers)
        return [len(list(items)) for items in of_node] + [threading.active_count()]

    before = count()
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert count() > before
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert count() == before


@pytest.mark.parametrize("step", ["create_publisher", "create_subscription", "create_service"])
def test_a_set_up_that_fails_half_way_leaves_nothing_behind(make_node, monkeypatch, step):
    node = make_node(**{"odometry.mode": "rgbd"})

    def count():
        of_node = (node.publishers, node.subscriptions, node.services, node.timers)
        return [len(list(items)) for items in of_node] + [threading.active_count()]

    before = count()
    create, numbers = getattr(node, step), iter(range(100))

    def fail_the_third_time(*arguments, **keywords):
        if next(numbers) == 2:
            raise OSError("no more of these")
        return create(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(node, step, fail_the_third_time)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert next(numbers) == 3
    assert count() == before
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert count() > before
    node.trigger_cleanup()
    assert count() == before


def test_shutdown_ends_the_work(make_node):
    node = make_node()
    before = threading.active_count(), len(list(node.subscriptions))
    start(node)
    node.trigger_shutdown()
    assert (threading.active_count(), len(list(node.subscriptions))) == before


def test_an_inactive_node_leaves_the_frames_that_wait(make_node):
    node = make_node(base_frame="")
    start(node)
    is_in_hand, may_go_on = hold(node)
    for number in range(1, 5):
        node.take_features(local_features(number * SECOND))
    assert is_in_hand.wait(10.0)
    node.trigger_deactivate()
    may_go_on.set()
    assert wait(lambda: node.counters["dropped"] == 3)
    assert node._odometry_stamps == [1 * SECOND]
    node.trigger_activate()
    node.take_features(local_features(9 * SECOND))
    assert wait(lambda: node._odometry_stamps == [1 * SECOND, 9 * SECOND])
