# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The summary's keys and rules, and the files and the table made of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from superpoint_ros.data import TrackingState
from superpoint_ros.evaluation.conditions import Condition
from superpoint_ros.evaluation.lockstep import LockstepRun
from superpoint_ros.evaluation.map_points import MapPoints
from superpoint_ros.evaluation.moments import Moment, compress
from superpoint_ros.evaluation.report import plot_trajectory, print_summary, write_run
from superpoint_ros.evaluation.results import BagResult
from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import (
    Trajectory,
    make_trajectory,
    read_kitti,
    write_tum,
)
from superpoint_ros.files import write_json

T0, STEP = 1_700_000_000_000_000_000, 100_000_000
# DESIGN.md section 2b
KEYS = {
    "frames", "tracked", "coverage", "ate_rmse_m", "rpe_trans_m", "rpe_rot_deg", "scale",
    "lost_intervals", "fps", "latency_ms", "weights_sha256", "version",
}  # fmt: skip


def circle(n: int = 40, radius_m: float = 2.0) -> Trajectory:
    angles = np.linspace(0.0, 5.0, n)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 0, 3], poses[:, 2, 3] = radius_m * np.cos(angles), radius_m * np.sin(angles)
    poses[:, 1, 3] = 0.1 * angles
    return make_trajectory([T0 + i * STEP for i in range(n)], list(poses))


def record(trajectory: Trajectory, sensor: str = "rgbd", **changes: object) -> RunRecord:
    values = {
        "stamps_ns": [T0 + i * STEP for i in range(40)],
        "wall_s": 4.0,
        "latency_ms": {"track": {"p50": 1.0, "p95": 2.0, "p99": 3.0}},
        "weights_sha256": "abc",
        **changes,
    }
    return RunRecord(sensor=sensor, trajectory=trajectory, **values)


def test_keys_and_values_of_a_perfect_run() -> None:
    values = summarize(record(circle()), circle(), "/truth").values
    assert set(values) >= KEYS
    assert (values["frames"], values["tracked"], values["coverage"]) == (40, 40, 1.0)
    assert values["ate_rmse_m"] < 1e-9
    assert values["fps"] == 10.0
    assert values["lost_intervals"] == []
    assert values["notes"] == []


def test_without_truth_the_errors_are_null_and_it_says_so() -> None:
    values = json.loads(json.dumps(summarize(record(circle())).values))
    for key in ("ate_rmse_m", "rpe_trans_m", "rpe_rot_deg", "scale", "ground_truth"):
        assert values[key] is None
    assert any("no ground truth" in note for note in values["notes"])


def test_missing_frames_lower_the_coverage() -> None:
    kept = np.r_[0:10, 15:40]
    values = summarize(record(circle().take(kept)), circle()).values
    assert (values["tracked"], values["coverage"]) == (35, 35 / 40)
    assert values["lost_intervals"] == [
        {"start_s": pytest.approx(1.0), "end_s": pytest.approx(1.4), "frames": 5}
    ]


def test_a_restarted_map_is_reported_and_not_glued() -> None:
    # After frame 15 the second map starts somewhere else: each on its own is perfect.
    path = circle()
    poses = path.poses.copy()
    poses[15:, 0, 3] += 100.0
    split = Trajectory(path.stamps_ns, poses, np.array([0] * 15 + [1] * 25))
    values = summarize(record(split), circle()).values
    assert values["ate_rmse_m"] < 1e-9
    assert values["coverage"] == 1.0
    assert [(m["map_id"], m["frames"]) for m in values["maps"]] == [(0, 15), (1, 25)]
    assert all(m["ate_rmse_m"] < 1e-9 for m in values["maps"])
    assert any("started anew 1 times" in n and "25 of 40" in n for n in values["notes"])


def test_a_wrong_depth_unit_is_pointed_out_for_metric_sensors_only() -> None:
    path = circle()
    poses = path.poses.copy()
    poses[:, :3, 3] *= 5.0
    scaled = Trajectory(path.stamps_ns, poses)
    values = summarize(record(scaled), path).values
    assert values["scale"] == pytest.approx(0.2)
    assert values["ate_rmse_m"] > 1.0
    assert any("--depth-units-per-metre" in note for note in values["notes"])
    mono = summarize(record(scaled, "mono"), path).values
    assert mono["ate_rmse_m"] < 1e-9
    assert mono["notes"] == []


def test_skipped_frames_and_gaps_are_counted() -> None:
    skipped = {1: "/camera/depth: no message within 20 ms"}
    values = summarize(record(circle(), skipped=skipped, gaps_ns=[-3_000_000, 1_000_000])).values
    assert values["skipped"][0]["reason"] == skipped[1]
    assert values["skipped"][0]["stamp_s"] == pytest.approx((T0 + STEP) * 1e-9)
    assert values["stamp_gap_ms"] == {"median": 2.0, "largest": 3.0}
    assert any("1 frames could not be used" in note for note in values["notes"])


def test_frames_with_equal_stamps_are_counted_one_by_one() -> None:
    stamps = [T0 + i // 2 * STEP for i in range(40)]
    poses = [*circle(20).poses.repeat(2, axis=0)]
    run = LockstepRun(
        stamps,
        [TrackingState.TRACKING] * 40,
        [T if i % 2 == 0 else None for i, T in enumerate(poses)],
        [0] * 40,
        skipped=dict.fromkeys(range(1, 40, 2), "the stamp repeats"),
    )
    parts = {"stamps_ns": stamps, "skipped": run.skipped, "is_tracked": run.is_tracked}
    values = summarize(record(run.trajectory(), **parts), circle(20)).values
    assert (values["frames"], values["tracked"], values["coverage"]) == (40, 20, 0.5)
    assert len(values["skipped"]) == 20
    assert values["rpe_trans_m"] < 1e-9  # a frame that could not be used is no hole


def test_a_recording_that_begins_again_keeps_the_poses_of_both_passes(tmp_path: Path) -> None:
    path = circle(20)
    stamps = [*path.stamps_ns.tolist()] * 2
    run = LockstepRun(
        stamps,
        [TrackingState.TRACKING] * 40,
        [*path.poses, *path.poses],
        [0] * 20 + [1] * 20,
    )
    values = summarize(record(run.trajectory(), stamps_ns=stamps), path).values
    assert [m["frames"] for m in values["maps"]] == [20, 20]
    assert values["tracked"] == 40
    write_tum(tmp_path / "t.tum", run.trajectory())
    assert len((tmp_path / "t.tum").read_text().splitlines()) == 1 + 40


def test_an_empty_run_is_no_crash(tmp_path: Path) -> None:
    summary = summarize(record(make_trajectory([], []), stamps_ns=[]), circle())
    assert summary.values["coverage"] == 0.0
    plot_trajectory(tmp_path / "trajectory.png", summary)
    print_summary(summary, Console(file=io.StringIO()))


@pytest.mark.parametrize("truth", [circle(), None])
def test_files_of_a_run(tmp_path: Path, truth: Trajectory | None) -> None:
    path = circle()
    run = LockstepRun(
        path.stamps_ns.tolist(), [TrackingState.TRACKING] * 40, list(path.poses), [0] * 40
    )
    jpeg, size_wh = compress(np.full((24, 40, 3), 50, np.uint8))
    moment = Moment(T0, TrackingState.TRACKING, 9, 8, jpeg, size_wh)
    landmarks = MapPoints(np.zeros((1, 3)), np.zeros(1, np.uint8), np.zeros(1, int))
    summary = summarize(record(path), truth)
    result = BagResult(Condition(), 0, run, summary, truth, (moment,), landmarks)
    paths = write_run(tmp_path / "out", result)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "annotated.png",
        "map.ply",
        "trajectory.png",
        "trajectory.tum",
        "trajectory_kitti.txt",
        "trajectory_kitti_times.txt",
    ]
    assert len(paths) == 6
    times = (tmp_path / "out" / "trajectory_kitti_times.txt").read_text().split()
    assert times[1] == "1700000000.100000000"
    again = read_kitti(tmp_path / "out" / "trajectory_kitti.txt", run.stamps_ns)
    np.testing.assert_allclose(again.poses, path.poses, atol=1e-8)
    plot = cv2.imread(str(tmp_path / "out" / "trajectory.png"))
    assert plot.shape[1] > plot.shape[0] > 400
    assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 50  # something is drawn
    assert cv2.imread(str(tmp_path / "out" / "annotated.png")).shape == (24, 40, 3)


def test_table_shows_the_numbers() -> None:
    text = io.StringIO()
    summary = summarize(record(circle()), circle())
    print_summary(summary, Console(file=text, width=100), title="a bag")
    for part in ("a bag", "frames in", "40 (100.0 %)", "ATE RMSE (SE3)", "10.0 frames/s", "p95 2"):
        assert part in text.getvalue()


def test_json_has_no_nan_and_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": float("nan"), "y": [float("inf"), 1.5]})
    assert json.loads(path.read_text()) == {"x": None, "y": [None, 1.5]}
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text())["y"] == [None, 1.5]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
