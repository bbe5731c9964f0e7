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


def test_a_damaged_image_is_forgotten_with_the_next_good_one():
    node = FakeNode()
    problems = Problems(SimpleNamespace(warning=lambda text: None))
    debug = DebugImage(node, "raw", "auto", problems)
    debug._subscription = SimpleNamespace(topic="/image")
    nothing = Features(
        np.zeros((0, 2), np.float32), np.zeros(0), np.zeros((0, 8), np.float32), SIZE_HW
    )
    for stamp_ns, is_damaged in ((1, True), (2, False)):
        header = make_header(stamp_ns, "camera")
        message = image_to_message(np.full((*SIZE_HW, 3), 90, np.uint8), header)
        if is_damaged:
            message.encoding = "h264"
        debug._on_image(message)
        debug.publish(TrackingResult(stamp_ns, TrackingState.TRACKING), header, nothing)
        assert ("debug_image" in problems.sentences()) == is_damaged
    assert [(m.height, m.width, m.encoding) for m in node.published] == [(48, 80, "bgr8")]
