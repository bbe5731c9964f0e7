# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The structure of the JSON, which others read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from superpoint_ros.data import TrackingState
from superpoint_ros.evaluation.conditions import Condition, make_curve
from superpoint_ros.evaluation.lockstep import LockstepRun
from superpoint_ros.evaluation.results import BagResult, Evaluation, Failure, Row
from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import make_trajectory

N = 20


def result(error_m: float, condition: Condition | None = None, seed: int = 0) -> BagResult:
    """A straight path of 1.9 m that is wrong by `error_m` to and fro."""
    stamps = list(range(0, N * 10**8, 10**8))
    truth, poses = np.tile(np.eye(4), (2, N, 1, 1))
    truth[:, 2, 3] = poses[:, 2, 3] = 0.1 * np.arange(N)
    truth[:, 0, 3] = poses[:, 0, 3] = np.sin(np.arange(N))
    poses[:, 1, 3] = error_m * (-1.0) ** np.arange(N)
    run = LockstepRun(stamps, [TrackingState.TRACKING] * N, list(poses), [0] * N)
    record = RunRecord("rgbd", stamps, make_trajectory(stamps, list(poses)), 2.0)
    summary = summarize(record, make_trajectory(stamps, list(truth)), "/truth")
    return BagResult(condition or Condition(), seed, run, summary)


def row(features: str, *repeats: BagResult) -> Row:
    curve = tuple(result(0.02, condition) for condition in make_curve("drops"))
    return Row("a/room.mcap", "room", features, {}, result(0.01), repeats, {"drops": curve})


def test_one_row_stands_at_the_top_and_in_the_results() -> None:
    values = json.loads(json.dumps(Evaluation((row("orb"),)).to_mapping()))
    (only,) = values["results"]
    assert values["failed"] == []
    assert {key: values[key] for key in only} == only
    assert (only["bag"], only["name"], only["features"]) == ("a/room.mcap", "room", "orb")
    assert only["ate_rmse_m"] == pytest.approx(0.01, rel=0.05)
    points = only["curves"]["drops"]
    assert [point["name"] for point in points][:2] == ["10 % lost", "every 2nd"]
    assert points[1]["value"] == 0.5
    assert points[1]["ate_rmse_m"] == pytest.approx(0.02, rel=0.05)
    assert "runs" not in only


def test_several_rows_and_failures_stand_in_lists_only() -> None:
    rows = (row("orb", result(0.01, seed=1)), row("klt", result(0.03, seed=1)))
    values = Evaluation(rows, (Failure("b.mcap", "no such file"),)).to_mapping()
    assert set(values) == {"version", "results", "failed"}
    assert values["failed"] == [{"bag": "b.mcap", "error": "no such file"}]
    same, other = (mapping["runs"] for mapping in values["results"])
    assert (same["identical"], same["seeds"], same["ate_rmse_m"]["std"]) == (True, [0, 1], 0.0)
    assert other["identical"] is False
    assert other["ate_rmse_m"]["mean"] == pytest.approx(0.02, rel=0.05)
    assert other["ate_rmse_m"]["max"] == pytest.approx(0.03, rel=0.05)
