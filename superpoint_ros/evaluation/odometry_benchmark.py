# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long the odometry takes for a frame, the network apart: rendered stereo, features first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array, Features
from superpoint_ros.evaluation.synthetic import SequenceConfig, SyntheticSequence
from superpoint_ros.geometry.stereo import StereoPair
from superpoint_ros.odometry import OdometryConfig, VisualOdometry, make_stereo_observation

_WARMUP = 10  # frames


def measure_odometry(
    extract_batch: Callable[[Sequence[Array]], Sequence[Features]],
    frames: int,
    show_progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Track a rendered sequence as fast as it goes.

    Args:
        extract_batch: Both images (H, W) of a VGA pair -> their features; not timed.
        frames: Length, more than 10: so many warm up.
        show_progress: Called with frames rendered and frames in all.

    Returns:
        A row for `frame` (all of it), for each stage, and for the `bundle thread` beside it, which
        has one time, the mean of a keyframe: `stage`, `count`, and in ms `cpu_mean` (of its own
        thread; None for stages), `p50`, `p95`, `max` (wall time, so other work on the machine
        counts; None for the thread).
    """
    sequence = SyntheticSequence(
        from_mapping(SequenceConfig, {"sensor": "stereo", "frames": frames})
    )
    pair = StereoPair.from_cameras(sequence.camera, sequence.right_camera)
    observations = []
    for count, frame in enumerate(sequence):
        assert frame.right_image is not None
        left, right = extract_batch([frame.image, frame.right_image])
        observations.append(make_stereo_observation(frame.stamp_ns, left, right, pair))
        show_progress(count + 1, frames)
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "stereo"}))
    wall: dict[str, list[float]] = {"frame": []}
    cpu, keyframes, process_start = 0.0, 0, 0.0
    for count, observation in enumerate(observations):
        if count == _WARMUP:
            process_start = time.process_time()
        start, cpu_start = time.perf_counter(), time.thread_time()
        result = odometry.track(observation)
        if count < _WARMUP:
            continue
        cpu += time.thread_time() - cpu_start
        wall["frame"].append(1e3 * (time.perf_counter() - start))
        keyframes += result.is_keyframe
        for stage, latency_ms in result.latency_ms.items():
            wall.setdefault(stage, []).append(latency_ms)
    odometry.close()
    beside = time.process_time() - process_start - cpu
    rows: list[dict[str, Any]] = []
    for stage, values in wall.items():
        p50, p95, largest = (float(v) for v in np.percentile(values, (50, 95, 100)))
        mean = 1e3 * cpu / len(values) if stage == "frame" else None
        rows.append(
            {
                "stage": stage,
                "count": len(values),
                "cpu_mean": mean,
                "p50": p50,
                "p95": p95,
                "max": largest,
            }
        )
    mean = 1e3 * beside / max(keyframes, 1)
    unknown = dict.fromkeys(("p50", "p95", "max"))
    rows.append({"stage": "bundle thread", "count": keyframes, "cpu_mean": mean, **unknown})
    return rows
