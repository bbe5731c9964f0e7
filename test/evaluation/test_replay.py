# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a live run is judged by; the run itself is tested with the nodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from superpoint_ros.data import TrackingState
from superpoint_ros.evaluation.replay import EVENTS_FILE, Replay, read_replay
from superpoint_ros.evaluation.summary import summarize
from superpoint_ros.evaluation.trajectory import make_trajectory


def test_frames_count_one_by_one_and_unanswered_ones_are_no_hole() -> None:
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, 0, 3] = np.arange(6.0)
    poses[:, 1, 3] = np.arange(6.0) ** 2
    answered = {10: 0, 20: 1, 40: 3, 50: 4}
    replay = Replay(
        published_ns=[10, 20, 20, 30, 40, 50],
        unusable={60: "no depth"},
        states=dict.fromkeys(answered, TrackingState.TRACKING),
        poses={stamp_ns: poses[i] for stamp_ns, i in answered.items()},
    )
    record = replay.to_record("rgbd")
    assert record.is_tracked == [True, True, False, False, True, True, False]
    assert sorted(record.skipped) == [2, 6]
    assert "repeats" in record.skipped[2]
    assert record.skipped[6] == "no depth"
    assert record.trajectory.frames.tolist() == [0, 1, 4, 5]
    truth = make_trajectory(list(range(10, 70, 10)), list(poses))
    values = summarize(record, truth).values
    assert (values["frames"], values["tracked"]) == (7, 4)
    assert values["rpe_trans_m"] < 1e-9
    assert values["lost_intervals"][0]["frames"] == 2


def test_latencies_are_of_the_whole_run_however_long(tmp_path: Path) -> None:
    events = [{"event": "image", "time_s": 0.0, "stamp_ns": 1, "gap_ns": None}]
    times_ms = np.repeat([100.0, 20.0], 10_001)
    card = {"event": "features", "model_id": "", "weights_sha256": ""}
    events += [{**card, "stamp_ns": i, "latency_ms": ms} for i, ms in enumerate(times_ms)]
    (tmp_path / EVENTS_FILE).write_text("\n".join(map(json.dumps, events)))
    assert read_replay(tmp_path).latency_ms["features"]["p50"] == pytest.approx(60.0)
