# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features from one process to another over DDS: loss, latency and memory.

Run: `python -m superpoint_ros.ros.transport_benchmark --seconds 60 --hz 30 --keypoints 1000`
Prints one JSON object. Packing and unpacking are part of what is timed, as in the nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor

from superpoint_ros.data import Features
from superpoint_ros.files import write_json
from superpoint_ros.graph import dds_environment
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.profiling import resident_mib
from superpoint_ros.ros.conversions import (
    DESCRIPTOR_DTYPES,
    features_from_message,
    features_to_message,
    make_header,
    stamp_to_ns,
)
from superpoint_ros.ros.subscriptions import FEATURES_QOS

_TOPIC = "benchmark/features"
_WARM_UP = 0.2  # share of the time after which memory must not grow


class _MemoryLog:
    """Samples of the resident memory, one a second at most."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._due = 0.0

    def sample(self) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + 1.0
            self.samples.append(resident_mib())

    def summary(self) -> dict[str, float]:
        start = self.samples[min(round(len(self.samples) * _WARM_UP), len(self.samples) - 1)]
        last = self.samples[-1]
        return {
            "after_warm_up_mib": round(start, 1),
            "end_mib": round(last, 1),
            "growth_mib": round(last - start, 2),
        }


def _make_features(count: int, dim: int) -> Features:
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((count, dim)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        keypoints=(rng.random((count, 2)) * [639.0, 479.0]).astype(np.float32),
        scores=np.sort(rng.random(count).astype(np.float32))[::-1].copy(),
        descriptors=descriptors,
        image_size_hw=(480, 640),
    )


def _subscribe(idle_s: float) -> dict[str, Any]:
    """Receive until nothing comes any more; return what was seen."""
    rclpy.init()
    node = rclpy.create_node("transport_benchmark_subscriber")
    latencies_ms: list[float] = []
    numbers: list[int] = []
    memory = _MemoryLog()

    def receive(message: Any) -> None:
        features_from_message(message)
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        latencies_ms.append((now - stamp_to_ns(message.header.stamp)) / 1e6)
        numbers.append(int(message.header.frame_id))

    node.create_subscription(FeaturesMessage, _TOPIC, receive, FEATURES_QOS)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    last_count, last_change = 0, time.monotonic()
    while time.monotonic() - last_change < (idle_s if numbers else 30.0):
        executor.spin_once(timeout_sec=0.2)
        if len(numbers) != last_count:
            last_count, last_change = len(numbers), time.monotonic()
            memory.sample()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    if not numbers:
        return {"received": 0}
    quantiles = np.percentile(latencies_ms, (50, 95, 99, 100))
    return {
        "received": len(set(numbers)),
        "duplicates": len(numbers) - len(set(numbers)),
        "latency_ms": dict(
            zip(("p50", "p95", "p99", "max"), (round(float(q), 2) for q in quantiles), strict=True)
        ),
        "subscriber_memory": memory.summary(),
    }


def _publish(
    options: argparse.Namespace, subscriber: subprocess.Popen[str]
) -> dict[str, Any] | None:
    """Publish at the rate asked for; return what was sent, None if nobody came to hear it."""
    rclpy.init()
    node = rclpy.create_node("transport_benchmark_publisher")
    publisher = node.create_publisher(FeaturesMessage, _TOPIC, FEATURES_QOS)
    features = _make_features(options.keypoints, options.dim)
    end = time.monotonic() + 30.0
    while publisher.get_subscription_count() == 0:
        if subscriber.poll() is not None or time.monotonic() > end:
            subscriber.kill()
            return None
        time.sleep(0.05)
    time.sleep(1.0)  # the other direction of discovery
    memory = _MemoryLog()
    total = round(options.seconds * options.hz)
    start = time.monotonic()
    for number in range(total):
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        header = make_header(now, str(number))
        publisher.publish(features_to_message(features, header, options.dtype))
        memory.sample()
        time.sleep(max(0.0, start + (number + 1) / options.hz - time.monotonic()))
    elapsed = time.monotonic() - start
    time.sleep(1.0)
    node.destroy_node()
    rclpy.shutdown()
    return {
        "sent": total,
        "hz": round(total / elapsed, 2),
        "publisher_memory": memory.summary(),
    }


def main(args: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--keypoints", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--dtype", choices=sorted(DESCRIPTOR_DTYPES), default="f16")
    parser.add_argument("--plain", action="store_true", help="without config/fastdds.xml")
    parser.add_argument("--domain", type=int, default=1 + os.getpid() % 100)
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument("--subscriber", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.subscriber:
        print(json.dumps(_subscribe(idle_s=3.0)))
        return 0
    os.environ["ROS_DOMAIN_ID"] = str(options.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not options.plain:
        os.environ.update(dds_environment(os.environ))
    command = [sys.executable, "-m", "superpoint_ros.ros.transport_benchmark", "--subscriber"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        sent = _publish(options, subscriber)
        answer = subscriber.communicate()[0]
    if sent is None or subscriber.returncode:
        print(f"the subscriber failed, exit code {subscriber.returncode}", file=sys.stderr)
        return 1
    received = json.loads(answer)
    result = {
        "keypoints": options.keypoints,
        "dtype": options.dtype,
        "transport": "plain" if options.plain else "fastdds.xml",
        **sent,
        **received,
        "lost": sent["sent"] - received["received"],
    }
    print(json.dumps(result, indent=2))
    if options.json:
        write_json(options.json, result)
    return int(result["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
