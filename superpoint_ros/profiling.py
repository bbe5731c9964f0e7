# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where time and memory go: named stages within a frame, percentiles over frames."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

PERCENTILES = (50, 95, 99)


class Stopwatch:
    """Wall time of the stages of one frame, milliseconds."""

    def __init__(self) -> None:
        self.latency_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside the `with` block to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed_ms = 1e3 * (time.perf_counter() - start)
            self.latency_ms[name] = self.latency_ms.get(name, 0.0) + elapsed_ms


class LatencyLog:
    """Stage times of the last frames, bounded, and their percentiles."""

    def __init__(self, max_frames: int = 10_000) -> None:
        self._stages: dict[str, deque[float]] = {}
        self._max_frames = max_frames

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Record the stage times of one frame."""
        for name, value in latency_ms.items():
            self._stages.setdefault(name, deque(maxlen=self._max_frames)).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return {stage: {"p50": ms, "p95": ms, "p99": ms}}."""
        return {
            name: {
                f"p{q}": float(value)
                for q, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
            }
            for name, values in self._stages.items()
        }


def resident_mib() -> float:
    """Return the resident memory of this process, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
