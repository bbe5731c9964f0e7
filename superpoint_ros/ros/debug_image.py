# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topic `debug_image`: tracks drawn on the image, which is fetched only while looked at."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from superpoint_ros.data import Features, TrackingResult
from superpoint_ros.decode import DecodeError, decode_colour
from superpoint_ros.drawing import draw_result
from superpoint_ros.ros.conversions import image_to_message, stamp_to_ns
from superpoint_ros.ros.log import Problems
from superpoint_ros.ros.subscriptions import MatchingSubscription, transport_topic

# Images that wait for their features. The network takes seconds on a small computer; of 720p in
# colour these are 1.6 s at 30 Hz.
_MAX_BYTES = 128 * 2**20
_MAX_IMAGES = 300
_MAX_MISSING = 5  # frames in a row without their image before somebody hears of it


class DebugImage:
    """Draws the tracker's frames. `refresh` and callbacks run on the executor's thread."""

    def __init__(self, node: Node, transport: str, reliability: str, problems: Problems) -> None:
        self._node = node
        self._transport = transport
        self._reliability = reliability
        self._problems = problems
        self._publisher = node.create_publisher(Image, "debug_image", 1)
        self._images: dict[int, Any] = {}
        self._num_bytes = 0  # of them
        self._num_missing = 0
        self._lock = threading.Lock()
        self._subscription: MatchingSubscription | None = None

    def refresh(self) -> None:
        """Subscribe to the image while somebody subscribes to the drawing."""
        is_wanted = self._publisher.get_subscription_count() > 0
        if is_wanted and self._subscription is None:
            self._subscription = MatchingSubscription(
                self._node,
                Image if self._transport == "raw" else CompressedImage,
                transport_topic(self._node, "image", self._transport),
                self._on_image,
                depth=2,
                reliability=self._reliability,
            )
        elif is_wanted and self._subscription is not None:
            self._subscription.refresh()
        elif self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None
            self._problems.clear("debug_image")
            with self._lock:
                self._images.clear()
                self._num_bytes = self._num_missing = 0

    def publish(self, result: TrackingResult, header: Any, features: Features) -> None:
        """Draw one frame, if its image is here and somebody looks."""
        subscription = self._subscription  # the executor may drop it meanwhile
        if subscription is None or self._publisher.get_subscription_count() == 0:
            return
        with self._lock:
            message = self._take(result.stamp_ns)
            for stamp_ns in [stamp for stamp in self._images if stamp < result.stamp_ns]:
                self._take(stamp_ns)  # of a frame that got no features
            num_waiting = len(self._images)
        if message is None:
            self._num_missing += 1
            if self._num_missing >= _MAX_MISSING and num_waiting:
                self._problems.report(
                    "debug_image",
                    f"{subscription.topic} has no image with the stamp of the features: it is "
                    f"another camera's, or they come more than {num_waiting} images late",
                )
            return
        self._num_missing = 0
        try:
            image = decode_colour(message)
        except DecodeError as error:
            self._problems.report("debug_image", f"{subscription.topic}: {error}")
            return
        self._problems.clear("debug_image")
        canvas = draw_result(image, features, result)
        self._publisher.publish(image_to_message(canvas, header))

    def destroy(self) -> None:
        """End publisher and subscription."""
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None
        self._node.destroy_publisher(self._publisher)

    def _on_image(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            self._take(stamp_ns)
            while self._images and (
                len(self._images) >= _MAX_IMAGES
                or self._num_bytes + len(message.data) > _MAX_BYTES
            ):
                self._take(next(iter(self._images)))
            self._images[stamp_ns] = message
            self._num_bytes += len(message.data)

    def _take(self, stamp_ns: int) -> Any:
        """Return an image that waits and forget it; None if there is none. Needs the lock."""
        message = self._images.pop(stamp_ns, None)
        if message is not None:
            self._num_bytes -= len(message.data)
        return message
