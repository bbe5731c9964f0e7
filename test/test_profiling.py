# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from superpoint_ros.profiling import LatencyLog, Stopwatch


def test_a_stage_entered_twice_adds_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("match"):
            time.sleep(0.002)
    assert list(watch.latency_ms) == ["match"]
    assert watch.latency_ms["match"] >= 4.0


def test_a_stage_that_raises_is_still_counted():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("pose"):
        raise KeyError
    assert "pose" in watch.latency_ms


def test_percentiles_of_known_values():
    log = LatencyLog()
    for value in range(101):
        log.add({"match": float(value)})
    assert log.summary() == {"match": {"p50": 50.0, "p95": 95.0, "p99": 99.0}}


def test_the_log_keeps_the_last_frames_only():
    log = LatencyLog(max_frames=3)
    for value in (1000.0, 1000.0, 1.0, 2.0, 3.0):
        log.add({"match": value})
    assert log.summary()["match"]["p50"] == 2.0


def test_no_frames_give_no_stages():
    assert LatencyLog().summary() == {}
