# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long the odometry takes for a frame, the network apart: rendered stereo, features first.

And whether it stays so: `repeat_round` goes on for hours, and watches time, memory and drift.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.evaluation.synthetic import (
    SequenceConfig,
    SyntheticSequence,
    round_length_m,
)
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.stereo import StereoPair
from superpoint_ros.odometry import OdometryConfig, VisualOdometry, make_stereo_observation
from superpoint_ros.profiling import resident_mib

_WARMUP = 10  # frames
_ROUND_RATE_HZ = 10.0
_PARTS = 10  # of a long run

ExtractBatch = Callable[[Sequence[Array]], Sequence[Features]]
ShowProgress = Callable[[int, int], None]


def measure_odometry(
    extract_batch: ExtractBatch, frames: int, show_progress: ShowProgress
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
    config = from_mapping(SequenceConfig, {"sensor": "stereo", "frames": frames})
    observations = _observe(config, extract_batch, show_progress)
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


@dataclass(frozen=True)
class LongRunPart:
    """A tenth of a long run.

    Attributes:
        frames: Number of the frame after its last.
        tracked: Its frames in state TRACKING.
        map_id: At its end; more than 0: the map was lost.
        mean_ms: Wall time of a frame.
        p95_ms: Likewise.
        cpu_ms: Processor time of a frame, mean, the bundle adjustment's thread included: what
            other work on the machine does not change.
        memory_mib: Resident memory of this process at its end.
        keyframes: In the map at its end.
        landmarks: Likewise.
        round_error_mm: By how much a round does not close, mean of the rounds that end here; None
            if none does.
        round_error_deg: Likewise.
    """

    frames: int
    tracked: int
    map_id: int
    mean_ms: float
    p95_ms: float
    cpu_ms: float
    memory_mib: float
    keyframes: int
    landmarks: int
    round_error_mm: float | None
    round_error_deg: float | None


def observe_round(
    extract_batch: ExtractBatch, frames: int, show_progress: ShowProgress
) -> list[Observation]:
    """Return what a stereo camera sees on one round of the room, which ends where it began.

    Args:
        extract_batch: Both images (H, W) of a VGA pair -> their features.
        frames: Of the round, at 10 Hz.
        show_progress: Called with frames rendered and frames in all.
    """
    config = from_mapping(SequenceConfig, {"sensor": "stereo", "trajectory": "loop"})
    config = dataclasses.replace(
        config,
        frames=frames,
        rate_hz=_ROUND_RATE_HZ,
        speed=round_length_m(config.scene.room_m) * _ROUND_RATE_HZ / frames,
    )
    return _observe(config, extract_batch, show_progress)


def repeat_round(
    observations: Sequence[Observation],
    frames: int,
    on_part: Callable[[LongRunPart], None] = lambda part: None,
) -> list[LongRunPart]:
    """Track one round again and again, as fast as it goes, in one map with stamps that go on.

    The images of a round are those of the round before, so features cost no time and no memory.

    Args:
        observations: Of a round; the first follows the last.
        frames: How many to track, at least 10.
        on_part: Called after each tenth.

    Returns:
        A part for each tenth of the frames.

    Raises:
        ValueError: Too few frames.
    """
    if frames < _PARTS:
        raise ValueError(f"{frames} frames: expected at least {_PARTS}")
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "stereo"}))
    step_ns = round(1e9 / _ROUND_RATE_HZ)
    T_world_begin: Array | None = None  # of the round
    parts: list[LongRunPart] = []
    times_ms: list[float] = []
    gaps: list[Array] = []
    tracked, cpu_start = 0, time.process_time()
    for count in range(frames):
        index = count % len(observations)
        stamp_ns = observations[0].stamp_ns + count * step_ns
        observation = dataclasses.replace(observations[index], stamp_ns=stamp_ns)
        start = time.perf_counter()
        result = odometry.track(observation)
        times_ms.append(1e3 * (time.perf_counter() - start))
        tracked += result.T_world_cam is not None
        if index == 0:
            if T_world_begin is not None and result.T_world_cam is not None:
                gaps.append(se3.log(se3.inverse(T_world_begin) @ result.T_world_cam))
            T_world_begin = result.T_world_cam
        if count + 1 != (len(parts) + 1) * frames // _PARTS:
            continue
        xi = np.reshape(gaps, (-1, 6))
        part = LongRunPart(
            frames=count + 1,
            tracked=tracked,
            map_id=result.map_id,
            mean_ms=float(np.mean(times_ms)),
            p95_ms=float(np.percentile(times_ms, 95)),
            cpu_ms=1e3 * (time.process_time() - cpu_start) / len(times_ms),
            memory_mib=resident_mib(),
            keyframes=result.num_keyframes,
            landmarks=result.num_landmarks,
            round_error_mm=float(1e3 * _mean_norm(xi[:, :3])) if gaps else None,
            round_error_deg=float(np.rad2deg(_mean_norm(xi[:, 3:]))) if gaps else None,
        )
        parts.append(part)
        on_part(part)
        times_ms, gaps, tracked = [], [], 0
        cpu_start = time.process_time()
    odometry.close()
    return parts


def _mean_norm(vectors: Array) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())


def _observe(
    config: SequenceConfig, extract_batch: ExtractBatch, show_progress: ShowProgress
) -> list[Observation]:
    """Return what a stereo sequence shows."""
    sequence = SyntheticSequence(config)
    pair = StereoPair.from_cameras(sequence.camera, sequence.right_camera)
    observations = []
    for count, frame in enumerate(sequence, 1):
        assert frame.right_image is not None
        left, right = extract_batch([frame.image, frame.right_image])
        observations.append(make_stereo_observation(frame.stamp_ns, left, right, pair))
        show_progress(count, len(sequence))
    return observations
