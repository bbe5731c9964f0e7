# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images in, features out.

The newest image waits, older ones are dropped and counted; the network runs on its own thread and
only while somebody listens. Run: `python -m superpoint_ros.ros.features_node --ros-args ...`
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.ros.runner import leave_quietly_while_importing

    leave_quietly_while_importing()

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from superpoint_ros.config import ConfigError, option
from superpoint_ros.data import Features
from superpoint_ros.decode import DecodeError, decode_grey
from superpoint_ros.features.extractor import ExtractorConfig, extractor_from_config
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.network.weights import WeightsError
from superpoint_ros.profiling import Stopwatch
from superpoint_ros.ros.conversions import DESCRIPTOR_DTYPES, features_to_message
from superpoint_ros.ros.diagnostics import PERIOD_S, Counters, Diagnostics
from superpoint_ros.ros.runner import ManagedNode, Worker, run
from superpoint_ros.ros.subscriptions import (
    FEATURES_QOS,
    RELIABILITIES,
    MatchingSubscription,
    transport_topic,
)

NODE_NAME = "features_node"
_REFRESH_S = 0.25


@dataclass(frozen=True)
class FeaturesConfig(ExtractorConfig):
    """Parameters of features_node."""

    autostart: bool = option(True, "configure and activate at once; false: wait for transitions")
    image_transport: str = option(
        "raw", "how images come; compressed appends /compressed", choices=("raw", "compressed")
    )
    image_reliability: str = option(
        "auto", "QoS of the image subscription; auto follows the publishers", choices=RELIABILITIES
    )
    descriptor_dtype: str = option(
        "f16", "descriptors on the topic", choices=tuple(DESCRIPTOR_DTYPES), dynamic=True
    )
    always_extract: bool = option(
        False, "run the network also while nobody subscribes to features", dynamic=True
    )


@dataclass(frozen=True)
class _Job:
    message: Any
    arrival: float  # time.perf_counter(), seconds


class FeaturesNode(ManagedNode[FeaturesConfig]):
    """Publishes `features` for `image`.

    Attributes:
        listeners: Called with (header, features, latency in ms) in this process, by reference, on
            the worker's thread.
    """

    def __init__(self, known_elsewhere: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(NODE_NAME, FeaturesConfig, known_elsewhere, **kwargs)
        self.listeners: list[Callable[[Any, Features, float], None]] = []
        self.counters = Counters("received", "published", "dropped", "bad", "idle")
        self._worker: Worker[_Job] | None = None

    def set_up(self) -> None:
        """Load the network, then open the topics."""
        try:
            self._extractor = extractor_from_config(self.config)
        except WeightsError as error:
            raise ConfigError(str(error)) from None
        self._publisher = self.create_publisher(FeaturesMessage, "features", FEATURES_QOS)
        self._diagnostics = Diagnostics(self, self.counters, self.problems)
        self._worker = Worker(self._extract, capacity=1, logger=self.get_logger())
        is_raw = self.config.image_transport == "raw"
        self._images = MatchingSubscription(
            self,
            Image if is_raw else CompressedImage,
            transport_topic(self, "image", self.config.image_transport),
            self._on_image,
            reliability=self.config.image_reliability,
        )
        self._own_timers = [
            self.create_steady_timer(PERIOD_S, self._diagnostics.publish),
            self.create_steady_timer(_REFRESH_S, self._refresh),
        ]
        self._started = time.monotonic()
        self.get_logger().info(
            f"{self._extractor.model_id} on {self._extractor.engine.name}, "
            f"images from {self._images.topic}"
        )

    def tear_down(self) -> None:
        """Close the topics and forget the network."""
        for timer in self._own_timers:
            self.destroy_timer(timer)
        self._images.destroy()
        self._diagnostics.destroy()
        self.destroy_publisher(self._publisher)
        del self._extractor

    def stop_work(self) -> bool:
        """End the worker."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop()

    def _refresh(self) -> None:
        trouble = self._images.refresh()
        if trouble is None:
            self.problems.clear("topic")
        elif time.monotonic() - self._started > 2.0:
            self.problems.report("topic", trouble)
        if time.monotonic() - self._started > 2.0:
            self.check_clock()

    def _on_image(self, message: Any) -> None:
        """Hand the image to the worker; the executor goes on at once."""
        if not self.is_active or self._worker is None:
            return
        self.counters.add("received")
        if not (self._is_wanted() or self.config.always_extract):
            self.counters.add("idle")
            return
        job = _Job(message, time.perf_counter())
        self.counters.add("dropped", self._worker.put(job))

    def _is_wanted(self) -> bool:
        return bool(self.listeners) or self._publisher.get_subscription_count() > 0

    def _extract(self, job: _Job) -> None:
        watch = Stopwatch()
        try:
            with watch.stage("decode"):
                grey = decode_grey(job.message)
        except DecodeError as error:
            self.counters.add("bad")
            self.problems.report("image", f"{self._images.topic}: {error}")
            return
        self.problems.clear("image")
        self._extractor.config = self.config
        with watch.stage("extract"):
            features = self._extractor(grey)
        header = job.message.header
        latency_ms = 1e3 * (time.perf_counter() - job.arrival)
        for listener in self.listeners:
            listener(header, features, latency_ms)
        with watch.stage("publish"):
            if self._publisher.get_subscription_count() > 0:
                message = features_to_message(
                    features,
                    header,
                    self.config.descriptor_dtype,
                    self._extractor.model_id,
                    self._extractor.weights_sha256,
                    latency_ms,
                )
                self._publisher.publish(message)
        self.counters.add("published")
        total_ms = 1e3 * (time.perf_counter() - job.arrival)
        self._diagnostics.add_latency({**watch.latency_ms, "total": total_ms})


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run(lambda: [FeaturesNode()], NODE_NAME, args)


if __name__ == "__main__":
    sys.exit(main())
