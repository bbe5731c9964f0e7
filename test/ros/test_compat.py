# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The stand-ins, and the real libraries where installed, under the same tests."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from geometry_msgs.msg import PointStamped

from superpoint_ros.geometry import se3
from superpoint_ros.ros import compat
from superpoint_ros.ros.conversions import make_header, stamp_to_ns, transform_to_message

pytestmark = pytest.mark.ros

STAND_INS = SimpleNamespace(
    SimpleFilter=compat.StandInFilter,
    TimeSynchronizer=compat.StandInTimeSynchronizer,
    ApproximateTimeSynchronizer=compat.StandInApproximateTimeSynchronizer,
)


@pytest.fixture(params=["stand-in", "message_filters"])
def filters(request):
    if request.param == "stand-in":
        return STAND_INS
    return pytest.importorskip("message_filters", reason="message_filters is not installed")


def message(milliseconds):
    return PointStamped(header=make_header(milliseconds * 1_000_000, "f"))


def stamps(messages):
    return tuple(stamp_to_ns(m.header.stamp) // 1_000_000 for m in messages)


def collect(filters, slop=None, queue_size=10, inputs=2):
    sources = [filters.SimpleFilter() for _ in range(inputs)]
    if slop is None:
        synchronizer = filters.TimeSynchronizer(sources, queue_size)
    else:
        synchronizer = filters.ApproximateTimeSynchronizer(sources, queue_size, slop)
    found = []
    synchronizer.registerCallback(lambda *messages: found.append(stamps(messages)))
    return sources, synchronizer, found


def test_exact_stamps(filters):
    (a, b), _, found = collect(filters)
    a.signalMessage(message(10))
    b.signalMessage(message(11))
    assert found == []
    b.signalMessage(message(10))
    assert found == [(10, 10)]
    b.signalMessage(message(10))  # each message is used once
    assert found == [(10, 10)]


def test_either_may_come_first(filters):
    (a, b), _, found = collect(filters, slop=0.02)
    b.signalMessage(message(100))
    b.signalMessage(message(133))
    a.signalMessage(message(100))
    a.signalMessage(message(133))
    assert found == [(100, 100), (133, 133)]


def test_the_nearest_within_the_slop(filters):
    (a, b), _, found = collect(filters, slop=0.02)
    for milliseconds in (85, 95, 109, 130):
        b.signalMessage(message(milliseconds))
    a.signalMessage(message(100))
    assert found == [(100, 95)]
    a.signalMessage(message(160))
    assert found == [(100, 95)]


def test_the_oldest_leaves_a_full_queue(filters):
    (a, b), _, found = collect(filters, slop=0.005, queue_size=3)
    for milliseconds in (10, 30, 50, 70):
        a.signalMessage(message(milliseconds))
    b.signalMessage(message(10))
    b.signalMessage(message(30))
    assert found == [(30, 30)]


def test_three_inputs(filters):
    sources, _, found = collect(filters, slop=0.02, inputs=3)
    sources[0].signalMessage(message(100))
    sources[1].signalMessage(message(112))
    sources[2].signalMessage(message(105))
    assert found == [(100, 112, 105)]


def test_extra_arguments_reach_the_callback(filters):
    source, found = filters.SimpleFilter(), []
    source.registerCallback(lambda *values: found.append(values), "extra")
    source.signalMessage(1, 2)
    assert found == [(1, 2, "extra")]


def test_time_that_jumps_back(filters):
    (a, b), synchronizer, found = collect(filters, slop=0.02, queue_size=3)
    for milliseconds in (9000, 9033, 9066):
        b.signalMessage(message(milliseconds))
    b.signalMessage(message(0))  # evicted at once: everything else is younger
    assert compat.drop_stamps_after(synchronizer, 4_500_000_000) == 3
    b.signalMessage(message(0))
    a.signalMessage(message(0))
    assert found == [(0, 0)]


def test_dropping_waits_for_the_thread_that_uses_the_queues(filters):
    (a, _), synchronizer, _ = collect(filters, slop=0.03)
    a.signalMessage(message(9000))
    with synchronizer.lock:
        dropper = threading.Thread(target=compat.drop_stamps_after, args=(synchronizer, 0))
        dropper.start()
        dropper.join(0.1)
        assert dropper.is_alive()
        assert len(synchronizer.queues[0]) == 1
    dropper.join(5.0)
    assert len(synchronizer.queues[0]) == 0


# ---- tf ---------------------------------------------------------------------------------------


class FakeNode:
    def create_subscription(self, *args):
        return args


@pytest.fixture
def buffer():
    pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")
    return compat.StandInTransformBuffer(FakeNode())


def publish(buffer, parent, child, T):
    stamped = transform_to_message(T, make_header(0, parent), child)
    buffer.add(SimpleNamespace(transforms=[stamped]))


def test_lookup_through_a_common_ancestor(buffer, rng):
    T_base_mast, T_mast_cam, T_base_lidar = (se3.exp(rng.standard_normal(6)) for _ in range(3))
    publish(buffer, "base", "mast", T_base_mast)
    publish(buffer, "/mast", "cam", T_mast_cam)
    publish(buffer, "base", "lidar", T_base_lidar)
    np.testing.assert_allclose(buffer.lookup("base", "cam"), T_base_mast @ T_mast_cam, atol=1e-9)
    np.testing.assert_allclose(
        buffer.lookup("cam", "base"), se3.inverse(T_base_mast @ T_mast_cam), atol=1e-9
    )
    np.testing.assert_allclose(
        buffer.lookup("lidar", "cam"),
        se3.inverse(T_base_lidar) @ T_base_mast @ T_mast_cam,
        atol=1e-9,
    )
    np.testing.assert_allclose(buffer.lookup("cam", "cam"), np.eye(4))


def test_what_is_not_connected(buffer):
    publish(buffer, "base", "mast", np.eye(4))
    publish(buffer, "other", "cam", np.eye(4))
    assert buffer.lookup("base", "cam") is None
    assert buffer.has_frame("cam")
    assert buffer.has_frame("other")
    assert not buffer.has_frame("nowhere")


def test_nonsense_does_no_harm(buffer):
    publish(buffer, "a", "b", np.eye(4))
    publish(buffer, "b", "a", np.eye(4))  # a loop
    publish(buffer, "c", "c", np.eye(4))
    broken = transform_to_message(np.eye(4), make_header(0, "base"), "cam")
    broken.transform.rotation.w = 0.0
    buffer.add(SimpleNamespace(transforms=[broken]))
    assert buffer.lookup("c", "a") is None
    assert buffer.lookup("base", "cam") is None


def test_tf2_names_the_frames_above_one():
    """By the text that tf2's buffer gives of all its frames."""
    text = (
        "camera_optical: \n  parent: 'camera_link'\n  broadcaster: 'default_authority'\n"
        "  rate: 10000.000\n  most_recent_transform: 0.000\n  buffer_length: 0.000\n"
        "camera_link: \n  parent: 'mast'\n  broadcaster: 'default_authority'\n  rate: 10.2\n"
    )
    buffer = compat._Tf2Buffer.__new__(compat._Tf2Buffer)
    buffer._buffer = SimpleNamespace(all_frames_as_yaml=lambda: text)
    assert buffer.ancestors("/camera_optical") == ["camera_link", "mast"]
    assert buffer.ancestors("mast") == buffer.ancestors("rear") == []
    assert buffer.has_frame("mast")
    assert not buffer.has_frame("camera")
    buffer._buffer = SimpleNamespace(all_frames_as_yaml=lambda: "[]")
    assert not buffer.has_frame("mast")
