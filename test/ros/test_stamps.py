# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of a camera's stamps."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from superpoint_ros.ros.stamps import StampWatch

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
FRAME = SECOND // 30


def trouble_of(stamps_ns, now_ns=None):
    watch = StampWatch("/camera/image")
    for stamp_ns in stamps_ns:
        watch.add(stamp_ns, stamp_ns if now_ns is None else now_ns)
    return watch.trouble()


def test_a_steady_camera_is_fine():
    assert trouble_of([]) is None
    assert trouble_of([NOW + i * FRAME for i in range(90)]) is None
    assert trouble_of([NOW, NOW + FRAME], NOW + 9 * SECOND) is None  # a slow network
    assert trouble_of([NOW], now_ns=0) is None  # /clock does not run: that is said elsewhere


def test_a_bag_that_loops_is_fine_and_so_is_one_late_image():
    once = [NOW + i * FRAME for i in range(60)]
    assert trouble_of(once * 4) is None
    assert trouble_of([*once, once[-2], once[-1] + FRAME]) is None


def test_two_publishers_on_one_topic():
    stamps = [NOW + i * FRAME - (i % 2) * SECOND // 4 for i in range(40)]
    assert trouble_of(stamps) == (
        "stamps on /camera/image go back by up to 0.217 s: do two publishers share the topic?"
    )


def test_the_same_stamp_again_and_again():
    assert "stamps on /camera/image repeat" in trouble_of([NOW] * 5)
    assert trouble_of([0] * 5, NOW) == (
        "images on /camera/image have no stamp: the driver has to set header.stamp"
    )


@pytest.mark.parametrize(
    ("offset_s", "text"),
    [
        (11, "11 s behind the node's clock"),
        (-600, "10 minutes ahead of the node's clock"),
        (5 * 86400, "5 days behind the node's clock"),
    ],
)
def test_another_clock(offset_s, text):
    sentence = trouble_of([NOW], NOW + offset_s * SECOND)
    assert f"stamps on /camera/image are {text}: " in sentence
    assert "use_sim_time" in sentence
