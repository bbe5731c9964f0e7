# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The debug image: damaged images are a problem only as long as they come."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from superpoint_ros.data import Features, TrackingResult, TrackingState
from superpoint_ros.ros.conversions import image_to_message, make_header
from superpoint_ros.ros.debug_image import DebugImage
from superpoint_ros.ros.log import Problems

pytestmark = pytest.mark.ros

SIZE_HW = (48, 80)


class FakeNode:
    """Hands out one publisher with a subscriber."""

    def __init__(self):
        self.published = []

    def create_publisher(self, *_):
        return SimpleNamespace(publish=self.published.append, get_subscription_count=lambda: 1)


def make_debug():
    node = FakeNode()
    problems = Problems(SimpleNamespace(warning=lambda text: None))
    debug = DebugImage(node, "raw", "auto", problems)
    debug._subscription = SimpleNamespace(topic="/image")
    return node, debug, problems


NOTHING = Features(
    np.zeros((0, 2), np.float32), np.zeros(0), np.zeros((0, 8), np.float32), SIZE_HW
)


def give(debug, stamp_ns, size_hw=SIZE_HW):
    debug._on_image(
        image_to_message(np.full((*size_hw, 3), 90, np.uint8), make_header(stamp_ns, "camera"))
    )


def show(debug, stamp_ns):
    header = make_header(stamp_ns, "camera")
    debug.publish(TrackingResult(stamp_ns, TrackingState.TRACKING), header, NOTHING)


def test_features_may_come_many_images_late():
    node, debug, problems = make_debug()
    for stamp_ns in range(1, 61):  # two seconds at 30 Hz; the newest waits, the others are dropped
        give(debug, stamp_ns)
    show(debug, 1)
    show(debug, 31)
    assert len(node.published) == 2
    assert len(debug._images) == 29  # those before have had their chance
    assert not problems.sentences()


def test_the_images_that_wait_are_bounded(monkeypatch):
    node, debug, problems = make_debug()
    monkeypatch.setattr("superpoint_ros.ros.debug_image._MAX_BYTES", 4 * 3 * 48 * 80)
    for stamp_ns in (1, 2, 3, 3, 4, 5, 6):
        give(debug, stamp_ns)
    assert list(debug._images) == [3, 4, 5, 6]
    for _ in range(5):
        assert not problems.sentences()
        show(debug, 2)
    assert "more than 4 images late" in problems.sentences()["debug_image"]
    show(debug, 4)
    assert not problems.sentences()
    assert len(node.published) == 1


def test_a_damaged_image_is_forgotten_with_the_next_good_one():
    node, debug, problems = make_debug()
    for stamp_ns, is_damaged in ((1, True), (2, False)):
        header = make_header(stamp_ns, "camera")
        message = image_to_message(np.full((*SIZE_HW, 3), 90, np.uint8), header)
        if is_damaged:
            message.encoding = "h264"
        debug._on_image(message)
        debug.publish(TrackingResult(stamp_ns, TrackingState.TRACKING), header, NOTHING)
        assert ("debug_image" in problems.sentences()) == is_damaged
    assert [(m.height, m.width, m.encoding) for m in node.published] == [(48, 80, "bgr8")]
