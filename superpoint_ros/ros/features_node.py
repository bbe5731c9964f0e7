# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images in, features out.

The newest image waits, older ones are dropped and counted; the network runs on its own thread and
only while somebody listens. The two images of a stereo camera are paired by their stamps and share
one batch. Run: `python -m superpoint_ros.ros.features_node --ros-args ...`
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.machine import prepare_process
    from superpoint_ros.ros.signals import leave_quietly_while_importing

    leave_quietly_while_importing()
    prepare_process()

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
from superpoint_ros.ros.conversions import DESCRIPTOR_DTYPES, features_to_message, stamp_to_ns
from superpoint_ros.ros.diagnostics import PERIOD_S, Counters, Diagnostics
from superpoint_ros.ros.links import describe_links
from superpoint_ros.ros.runner import FAILURE, ManagedNode, Worker, run
from superpoint_ros.ros.stamp_pairing import StampPairing
from superpoint_ros.ros.stamps import StampWatch
from superpoint_ros.ros.subscriptions import (
    FEATURES_QOS,
    RELIABILITIES,
    MatchingSubscription,
    transport_topic,
)

NODE_NAME = "features_node"
_REFRESH_S = 0.25
_SILENCE_S = 3.0
_STEREO_DEPTH = 5


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
    stereo: bool = option(False, "pair right/image with image, publish right/features too")
    sync_slop: float = option(
        0.02,
        "stereo: largest gap between the stamps of the two images, seconds; 0: equal",
        minimum=0.0,
    )
    sync_queue_size: int = option(
        10, "stereo: images kept while they wait for the other one", minimum=2
    )
    descriptor_dtype: str = option(
        "f16", "descriptors on the topic", choices=tuple(DESCRIPTOR_DTYPES), dynamic=True
    )
    always_extract: bool = option(
        False, "run the network also while nobody subscribes to features", dynamic=True
    )


@dataclass(frozen=True)
class _Job:
    images: tuple[Any, ...]  # messages: the image, or the left and the right
    arrival: float  # time.perf_counter(), seconds


class FeaturesNode(ManagedNode[FeaturesConfig]):
    """Publishes `features` for `image`, and in stereo `right/features` for `right/image`.

    Attributes:
        listeners: Called with (header, features, latency in ms, right features or None) in this
            process, by reference, on the worker's thread.
    """

    def __init__(self, known_elsewhere: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(NODE_NAME, FeaturesConfig, known_elsewhere, **kwargs)
        self.listeners: list[Callable[[Any, Features, float, Features | None], None]] = []
        self.counters = Counters("received", "published", "dropped", "unpaired", "bad", "idle")
        self._worker: Worker[_Job] | None = None

    def set_up(self) -> None:
        """Load the network, then open the topics."""
        try:
            self._extractor = extractor_from_config(self.config)
        except WeightsError as error:
            raise ConfigError(str(error)) from None
        self._outputs = [self._publish_features("features")]
        self._diagnostics = self.own(
            Diagnostics(self, self.counters, self.problems, self._describe_links, self.why_idle),
            Diagnostics.destroy,
        )
        self._worker = self.make_worker(self._extract, capacity=1)
        self._images = [self._subscribe("image", self._on_image)]
        self._stamps = StampWatch(self._images[0].topic)
        self._pairing: StampPairing | None = None
        if self.config.stereo:
            self._outputs.append(self._publish_features("right/features"))
            self._images.append(self._subscribe("right/image", self._on_right_image))
            self._pairing = StampPairing(
                self._on_pair,
                self.config.sync_slop,
                self.config.sync_queue_size,
                (self._images[0].topic, self._images[1].topic),
            )
        self.own_steady_timer(PERIOD_S, self._diagnostics.publish)
        self.own_steady_timer(_REFRESH_S, self._refresh)
        self._last_image = time.monotonic()
        engine = self._extractor.engine
        self.get_logger().info(
            f"{self._extractor.model_id} on {engine.name} ({engine.device}), "
            f"images from {' and '.join(images.topic for images in self._images)}"
        )

    def _describe_links(self) -> dict[str, str]:
        hears = {images.topic: images.state for images in self._images}
        num_waiting = 0 if self._worker is None else self._worker.num_waiting
        return describe_links(self._outputs, hears, num_waiting)

    def _publish_features(self, topic: str) -> Any:
        publisher = self.create_publisher(FeaturesMessage, topic, FEATURES_QOS)
        return self.own(publisher, self.destroy_publisher)

    def _subscribe(self, name: str, callback: Callable[[Any], None]) -> MatchingSubscription:
        transport = self.config.image_transport
        subscription = MatchingSubscription(
            self,
            Image if transport == "raw" else CompressedImage,
            transport_topic(self, name, transport),
            callback,
            # An image of a pair has to wait for the other one.
            depth=_STEREO_DEPTH if self.config.stereo else 1,
            reliability=self.config.image_reliability,
        )
        return self.own(subscription, MatchingSubscription.destroy)

    def tear_down(self) -> None:
        """Forget the network."""
        self.__dict__.pop("_extractor", None)

    def stop_work(self) -> bool:
        """End the worker."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop()

    def _refresh(self) -> None:
        now = time.monotonic()
        age = now - self.active_since
        troubles = [trouble for images in self._images if (trouble := images.refresh())]
        if not troubles and self.is_active:
            seconds = now - max(self._last_image, self.active_since)
            if seconds > _SILENCE_S:
                troubles.append(
                    f"nothing has come on {self._images[0].topic} for {_SILENCE_S:g} s, though it "
                    "has a publisher: does the camera run?"
                )
        if not troubles:
            self.problems.clear("topic")
        elif age > 2.0:
            self.problems.report("topic", "; ".join(troubles))
        if self._pairing is not None:
            self.counters.add("unpaired", self._pairing.count_lost())
            trouble = self._pairing.trouble()
            if trouble:
                self.problems.report("pairing", trouble)
        if age > 2.0:
            self.check_clock()
        trouble = self._stamps.trouble()
        if trouble:
            self.problems.report("stamps", trouble)
        else:
            self.problems.clear("stamps")

    def _on_image(self, message: Any) -> None:
        """Hand the image to the worker; the executor goes on at once."""
        if not self.is_active or self._worker is None:
            return
        self.counters.add("received")
        self._last_image = time.monotonic()
        self._stamps.add(stamp_to_ns(message.header.stamp), self.get_clock().now().nanoseconds)
        if not (self._is_wanted() or self.config.always_extract):
            self.counters.add("idle")
            return
        if self._pairing is not None:
            self._pairing.add_first(message)
        else:
            self._give((message,))

    def _on_right_image(self, message: Any) -> None:
        if self.is_active and self._pairing is not None:
            self._pairing.add_second(message)

    def _on_pair(self, left: Any, right: Any) -> None:
        self.problems.clear("pairing")
        self._give((left, right))

    def _give(self, images: tuple[Any, ...]) -> None:
        if self._worker is not None:
            job = _Job(images, time.perf_counter())
            self.counters.add("dropped", self._worker.put(job))

    def _is_wanted(self) -> bool:
        return bool(self.listeners) or any(
            publisher.get_subscription_count() > 0 for publisher in self._outputs
        )

    def _extract(self, job: _Job) -> None:
        if not self.is_active:  # any more
            self.counters.add("dropped")
            return
        watch = Stopwatch()
        greys = []
        for image, subscription in zip(job.images, self._images, strict=True):
            try:
                with watch.stage("decode"):
                    greys.append(decode_grey(image))
            except DecodeError as error:
                self.counters.add("bad")
                self.problems.report("image", f"{subscription.topic}: {error}")
                return
        self.problems.clear("image")
        self._extractor.config = self.config
        with watch.stage("extract"):
            extracted = self._extractor.extract_batch(greys)
        latency_ms = 1e3 * (time.perf_counter() - job.arrival)
        right = extracted[1] if self.config.stereo else None
        for listener in self.listeners:
            listener(job.images[0].header, extracted[0], latency_ms, right)
        with watch.stage("publish"):
            for publisher, image, features in zip(
                self._outputs, job.images, extracted, strict=True
            ):
                if publisher.get_subscription_count() > 0:
                    message = features_to_message(
                        features,
                        image.header,
                        self.config.descriptor_dtype,
                        self._extractor.model_id,
                        self._extractor.weights_sha256,
                        latency_ms,
                    )
                    publisher.publish(message)
        self.counters.add("published")
        self.problems.clear(FAILURE)
        total_ms = 1e3 * (time.perf_counter() - job.arrival)
        self._diagnostics.add_latency({**watch.latency_ms, "total": total_ms})


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run(lambda: [FeaturesNode()], NODE_NAME, args)


if __name__ == "__main__":
    sys.exit(main())
