# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""/diagnostics once a second: rates, drops, latency, who has found whom, and what is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from superpoint_ros.profiling import LatencyLog
from superpoint_ros.ros.links import RUNNING
from superpoint_ros.ros.log import Problems

PERIOD_S = 1.0
_WINDOW_FRAMES = 300


class Counters:
    """Event counts that two threads may raise."""

    def __init__(self, *names: str) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(names, 0)

    def add(self, name: str, count: int = 1) -> None:
        """Raise a count."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """Return all counts at one moment."""
        with self._lock:
            return dict(self._counts)


class Diagnostics:
    """Publishes the state of one node.

    Args:
        node: Whose state it is.
        counters: Of its frames.
        problems: What is wrong with it.
        describe_links: Returns what `links.describe_links` says of its topics.
        why_idle: Returns why the node does not work though nothing is wrong; empty: it works.
    """

    def __init__(
        self,
        node: Node,
        counters: Counters,
        problems: Problems,
        describe_links: Callable[[], Mapping[str, str]],
        why_idle: Callable[[], str],
    ) -> None:
        self._node = node
        self._why_idle = why_idle
        self._describe_links = describe_links
        self._counters = counters
        self._problems = problems
        self._latencies = LatencyLog(_WINDOW_FRAMES)
        self._lock = threading.Lock()
        self._before = counters.snapshot()
        self._before_time = time.monotonic()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def add_latency(self, latency_ms: Mapping[str, float]) -> None:
        """Record the stage times of one frame."""
        with self._lock:
            self._latencies.add(latency_ms)

    def publish(self) -> None:
        """Publish the present state; to be called every `PERIOD_S`."""
        now, counts = time.monotonic(), self._counters.snapshot()
        elapsed = max(now - self._before_time, 1e-3)
        values = {name: str(count) for name, count in counts.items()}
        for name, count in counts.items():
            values[f"{name}_hz"] = f"{(count - self._before.get(name, 0)) / elapsed:.1f}"
        with self._lock:
            summary = self._latencies.summary()
        for stage, quantiles in summary.items():
            values.update({f"{stage}_ms_{q}": f"{ms:.1f}" for q, ms in quantiles.items()})
        self._before, self._before_time = counts, now
        if self._publisher.get_subscription_count() == 0:
            return
        values.update(self._describe_links())
        sentences = list(filter(None, (self._why_idle(), *self._problems.sentences().values())))
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if sentences else DiagnosticStatus.OK,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}",
            message="; ".join(sentences) or RUNNING,
            hardware_id="none",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def destroy(self) -> None:
        """End the publisher."""
        self._node.destroy_publisher(self._publisher)
