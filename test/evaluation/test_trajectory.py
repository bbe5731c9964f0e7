# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import (
    Trajectory,
    TrajectoryError,
    evaluate_trajectory,
    longest_map,
    lost_intervals,
    make_trajectory,
    nees_of,
    read_kitti,
    read_tum,
    seconds_to_ns,
    write_kitti,
    write_times,
    write_tum,
)
from superpoint_ros.evaluation.trajectory import _to_evo as to_evo
from superpoint_ros.geometry import se3

T0 = 1_305_031_229_528_748_032


def winding_path(n: int = 60, step_m: float = 1.0) -> Trajectory:
    """A path that bends in all directions, of `step_m` per frame, 10 Hz."""
    xi = np.array([0.1, 0.0, step_m, 0.01, 0.03, -0.02])
    xi[:3] *= step_m / np.linalg.norm(xi[:3])
    poses = [np.eye(4)]
    for i in range(n - 1):
        turn = xi * np.array([1, 1, 1, 1, np.sin(i / 9.0), 1])
        poses.append(poses[-1] @ se3.exp(turn))
    return make_trajectory([T0 + i * 100_000_000 for i in range(n)], poses)


def moved(trajectory: Trajectory, T: np.ndarray, scale: float = 1.0) -> Trajectory:
    poses = T @ trajectory.poses
    poses[:, :3, 3] *= scale
    return Trajectory(trajectory.stamps_ns, poses, trajectory.map_ids)


def test_another_world_frame_is_no_error() -> None:
    truth = winding_path()
    estimate = moved(truth, se3.exp(np.array([3.0, -5.0, 7.0, 0.4, 1.1, -0.8])))
    errors = evaluate_trajectory(estimate, truth, with_scale=False)
    assert errors.ate_rmse_m < 1e-9
    assert errors.rpe_trans_m < 1e-9
    assert errors.rpe_rot_deg < 1e-5
    assert errors.scale == pytest.approx(1.0)
    np.testing.assert_allclose(errors.aligned, truth.poses, atol=1e-9)
    np.testing.assert_array_equal(errors.stamps_ns, truth.stamps_ns)


def test_scale_is_corrected_for_mono_alone() -> None:
    truth = winding_path()
    estimate = moved(truth, se3.exp(np.array([0.0, 1.0, 0.0, 0.0, 0.5, 0.0])), scale=0.5)
    mono = evaluate_trajectory(estimate, truth, with_scale=True)
    assert mono.scale == pytest.approx(2.0)
    assert mono.ate_rmse_m < 1e-9
    metric = evaluate_trajectory(estimate, truth, with_scale=False)
    assert metric.scale == pytest.approx(2.0)
    # SE3 leaves half of every distance to the centroid
    centred = truth.poses[:, :3, 3] - truth.poses[:, :3, 3].mean(axis=0)
    expected = 0.5 * np.sqrt((centred**2).sum(axis=1).mean())
    assert metric.ate_rmse_m == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_straight_path_is_aligned_by_its_first_attitude(scale: float) -> None:
    """Its positions leave the turn about it open."""
    stamps = [T0 + i * 100_000_000 for i in range(20)]
    T_first = se3.exp(np.array([1.0, 2.0, 3.0, 0.5, -0.2, 0.3]))
    steps = [np.array([0, 0, 0.5 * i, 0, 0, 0.0]) for i in range(20)]
    truth = make_trajectory(stamps, [T_first @ se3.exp(step) for step in steps])
    # In its own world, where it goes along z, exactly.
    estimate = moved(make_trajectory(stamps, [se3.exp(step) for step in steps]), np.eye(4), scale)
    errors = evaluate_trajectory(estimate, truth, with_scale=True)
    assert errors.scale == pytest.approx(1.0 / scale)
    np.testing.assert_allclose(errors.aligned, truth.poses, atol=1e-9)
    metric = evaluate_trajectory(estimate, truth, with_scale=False)
    assert metric.scale == pytest.approx(1.0 / scale)
    # A path that is twice as long: a pose is as far off as it lies from the middle.
    spread = 0.5 * np.std(np.arange(20.0))
    assert metric.ate_rmse_m == pytest.approx((scale - 1.0) * spread, abs=1e-9)
    np.testing.assert_allclose(metric.aligned[:, :3, :3], truth.poses[:, :3, :3], atol=1e-9)


def test_rpe_is_the_error_per_frame() -> None:
    truth = winding_path()
    # Every step turns 0.5 degrees too far and goes 2 cm too far to the right.
    slip = se3.exp(np.array([0.02, 0.0, 0.0, 0.0, np.deg2rad(0.5), 0.0]))
    poses = [np.eye(4)]
    for a, b in zip(truth.poses, truth.poses[1:], strict=False):
        poses.append(poses[-1] @ se3.inverse(a) @ b @ slip)
    errors = evaluate_trajectory(
        make_trajectory(truth.stamps_ns.tolist(), poses), truth, with_scale=False
    )
    assert errors.rpe_trans_m == pytest.approx(0.02, rel=1e-4)
    assert errors.rpe_rot_deg == pytest.approx(0.5, rel=1e-6)


def test_kitti_errors_of_one_percent_drift() -> None:
    truth = winding_path(n=320)
    straight = Trajectory(truth.stamps_ns, truth.poses.copy())
    straight.poses[:, :3, :3] = np.eye(3)
    straight.poses[:, :3, 3] = np.arange(320)[:, None] * [0.0, 0.0, 1.0]
    errors = evaluate_trajectory(
        moved(straight, np.eye(4), scale=1.01), straight, with_scale=False
    )
    assert errors.kitti_t_err_percent == pytest.approx(1.0, rel=0.02)
    assert errors.kitti_r_err_deg_per_100m == pytest.approx(0.0, abs=1e-4)
    assert errors.kitti_lengths_m == (100.0, 200.0, 300.0)
    assert errors.path_length_m == pytest.approx(319.0)


def test_kitti_errors_are_those_of_evo() -> None:
    from evo.core import metrics
    from evo.core.units import Unit

    truth = winding_path(200)
    poses = truth.poses.copy()
    poses[50:60] = poses[50]  # it stands: many poses are equally far along the path
    truth = Trajectory(truth.stamps_ns, poses)
    rng = np.random.default_rng(1)
    noisy = np.array([T @ se3.exp(0.01 * rng.normal(size=6)) for T in truth.poses])
    errors = evaluate_trajectory(Trajectory(truth.stamps_ns, noisy), truth, with_scale=False)
    ours = (errors.kitti_t_err_percent, errors.kitti_r_err_deg_per_100m)
    pair = (to_evo(truth, T0), to_evo(Trajectory(truth.stamps_ns, noisy), T0))
    parts = (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg)
    for relation, mean in zip(parts, ours, strict=True):
        rpe = metrics.RPE(relation, 100.0, Unit.meters, all_pairs=True, pairs_from_reference=True)
        rpe.process_data(pair)
        assert mean == pytest.approx(float(np.mean(rpe.error)), rel=1e-9)


def test_kitti_errors_of_a_short_path_are_over_shares_of_it() -> None:
    # 50 m that turn by 0.06 degrees each metre too much: 6 degrees per 100 m.
    n = 51
    truth = [se3.exp(np.array([0.0, 0.0, z, 0.0, 0.0, 0.0])) for z in np.arange(n, dtype=float)]
    stamps_ns = [T0 + i * 100_000_000 for i in range(n)]
    turned = [np.eye(4)]
    step = se3.exp(np.array([0.0, 0.0, 1.0, 0.0, np.radians(0.06), 0.0]))
    for _ in range(n - 1):
        turned.append(turned[-1] @ step)
    path = make_trajectory(stamps_ns, truth)
    errors = evaluate_trajectory(make_trajectory(stamps_ns, turned), path, with_scale=False)
    assert errors.kitti_lengths_m == pytest.approx([5, 10, 15, 20, 25, 30, 35, 40])
    assert errors.kitti_r_err_deg_per_100m == pytest.approx(6.0, rel=0.01)
    assert 0.0 < errors.kitti_t_err_percent < 5.0
    standing = Trajectory(path.stamps_ns, np.tile(np.eye(4), (n, 1, 1)))
    errors = evaluate_trajectory(standing, standing, with_scale=False)
    assert (errors.kitti_t_err_percent, errors.kitti_lengths_m) == (None, ())


def test_the_parts_of_a_path_are_of_the_true_one() -> None:
    truth = winding_path()
    errors = evaluate_trajectory(moved(truth, np.eye(4), 1.3), truth, with_scale=False)
    assert errors.path_length_m == pytest.approx(truth.length_m)
    expected = 0.1 * np.arange(1, 9) * truth.length_m
    np.testing.assert_allclose(errors.kitti_lengths_m, expected)
    assert errors.kitti_t_err_percent == pytest.approx(30.0, rel=0.1)


def test_association_is_by_stamp() -> None:
    truth = winding_path()
    some = truth.take(np.arange(0, 60, 3))
    shifted = Trajectory(some.stamps_ns + 15_000_000, some.poses)
    assert len(evaluate_trajectory(shifted, truth, with_scale=False).stamps_ns) == 20
    assert evaluate_trajectory(shifted, truth, False).ate_rmse_m < 1e-9
    too_far = Trajectory(some.stamps_ns + 45_000_000, some.poses)
    assert evaluate_trajectory(too_far, truth, with_scale=False) is None


def test_a_truth_that_is_dense_but_short_is_used_once_per_frame() -> None:
    # 120 Hz in the first and the last two seconds of a minute: fewer poses than the estimate.
    estimate = winding_path(n=600, step_m=0.1)
    finer = np.concatenate([np.arange(0, 1.95, 1 / 120), np.arange(58, 59.9, 1 / 120)])
    nearest = [estimate.poses[round(10 * seconds)] for seconds in finer]
    truth = make_trajectory([T0 + round(seconds * 1e9) for seconds in finer], nearest)
    assert len(truth) < len(estimate)
    errors = evaluate_trajectory(estimate, truth, with_scale=False)
    assert len(np.unique(errors.stamps_ns)) == len(errors.stamps_ns) == 40
    assert errors.frames.tolist() == [*range(20), *range(580, 600)]
    assert errors.ate_rmse_m < 1e-9
    assert errors.rpe_trans_m < 1e-9


def test_a_sparse_truth_takes_the_nearest_frame_and_gives_no_rpe() -> None:
    estimate = winding_path()
    faster = Trajectory(T0 + (estimate.stamps_ns - T0) // 10, estimate.poses)  # 100 Hz
    truth = faster.take(np.arange(0, 60, 5))  # 20 Hz: each is near to five frames
    errors = evaluate_trajectory(faster, truth, with_scale=False)
    assert errors.frames.tolist() == list(range(0, 60, 5))
    assert errors.ate_rmse_m < 1e-9
    assert (errors.rpe_trans_m, errors.rpe_rot_deg) == (None, None)


@pytest.mark.parametrize("hole", ["lost", "truth"])
def test_no_pair_of_the_rpe_reaches_across_a_hole(hole: str) -> None:
    truth = winding_path()
    kept = np.r_[0:20, 40:60]
    poses = truth.poses.copy()
    poses[30:, 0, 3] += 1.0  # it jumps where nobody sees it
    estimate = Trajectory(truth.stamps_ns, poses)
    if hole == "lost":
        errors = evaluate_trajectory(estimate.take(kept), truth, with_scale=False)
    else:
        errors = evaluate_trajectory(estimate, truth.take(kept), with_scale=False)
    assert errors.ate_rmse_m > 0.1
    assert errors.rpe_trans_m < 1e-9


def test_frames_beside_one_that_was_not_used_are_neighbours() -> None:
    truth = winding_path()
    poses = truth.poses.copy()
    poses[5:, 0, 3] += 1.0
    estimate = Trajectory(truth.stamps_ns, poses).take(np.r_[0:4, 5:60])
    lost = evaluate_trajectory(estimate, truth, with_scale=False)
    assert lost.rpe_trans_m < 1e-9
    unused = evaluate_trajectory(estimate, truth, with_scale=False, unused=[4])
    assert unused.rpe_trans_m == pytest.approx(np.sqrt(1.0 / 58))


def test_too_little_to_say_is_none() -> None:
    truth = winding_path()
    assert evaluate_trajectory(truth.take(np.arange(2)), truth, with_scale=False) is None
    empty = make_trajectory([], [])
    assert evaluate_trajectory(empty, truth, with_scale=False) is None
    assert len(longest_map(empty)) == 0


def test_maps_are_not_glued() -> None:
    path = winding_path(n=10)
    ids = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    split = make_trajectory(path.stamps_ns.tolist(), list(path.poses), ids)
    np.testing.assert_array_equal(longest_map(split).stamps_ns, path.stamps_ns[3:7])
    tie = make_trajectory(path.stamps_ns.tolist(), list(path.poses), [5] * 5 + [1] * 5)
    np.testing.assert_array_equal(longest_map(tie).stamps_ns, path.stamps_ns[:5])


def test_lost_intervals() -> None:
    stamps = [T0 + i * 500_000_000 for i in range(7)]
    tracked = [False, True, False, False, True, True, False]
    assert lost_intervals(stamps, tracked) == [
        {"start_s": 0.0, "end_s": 0.0, "frames": 1},
        {"start_s": 1.0, "end_s": 1.5, "frames": 2},
        {"start_s": 3.0, "end_s": 3.0, "frames": 1},
    ]
    assert lost_intervals([], []) == []


def test_tum_files_keep_nanoseconds_and_poses(tmp_path: Path) -> None:
    path = winding_path(n=5)
    write_tum(tmp_path / "new" / "t.txt", path)
    back = read_tum(tmp_path / "new" / "t.txt")
    np.testing.assert_array_equal(back.stamps_ns, path.stamps_ns)
    np.testing.assert_allclose(back.poses, path.poses, atol=1e-8)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["t.txt"]  # no temporary left


def test_stamps_just_after_a_full_second_keep_their_zeros(tmp_path: Path) -> None:
    stamps = [1_700_000_000 * 10**9 + part for part in (0, 1, 50_000_000, 500_000_000)]
    path = make_trajectory(stamps, [np.eye(4)] * 4)
    write_tum(tmp_path / "path.txt", path)
    assert read_tum(tmp_path / "path.txt").stamps_ns.tolist() == stamps
    write_times(tmp_path / "times.txt", path)
    assert (tmp_path / "times.txt").read_text().split() == [
        "1700000000.000000000",
        "1700000000.000000001",
        "1700000000.050000000",
        "1700000000.500000000",
    ]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_tum(tmp_path / "t.txt", winding_path(n=5))
    text = (tmp_path / "t.txt").read_text().partition("\n")[2]  # no comment comes first
    (tmp_path / "t.txt").write_text(text, encoding="utf-8-sig")
    assert len(read_tum(tmp_path / "t.txt").stamps_ns) == 5


def test_kitti_files_keep_poses(tmp_path: Path) -> None:
    path = winding_path(n=5)
    write_kitti(tmp_path / "k.txt", path)
    back = read_kitti(tmp_path / "k.txt", path.stamps_ns.tolist())
    np.testing.assert_allclose(back.poses, path.poses, atol=1e-8)
    with pytest.raises(TrajectoryError, match="5 poses for 4 images"):
        read_kitti(tmp_path / "k.txt", [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "line 1: expected 8 numbers"),
        ("# head\n1 0 0 0 0 0 0 x", "line 2: could not convert"),
        ("1 0 0 nan 0 0 0 1", "line 1: holds NaN"),
        ("1 0 0 0 0 0 0 0", "line 1: the quaternion is zero"),
        ("# only a comment\n", "holds no pose"),
        ("1403636579763555584 0 0 0 0 0 0 1", "line 1: a stamp of 1403636579763555584 s"),
    ],
)
def test_bad_tum_files_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(TrajectoryError, match=f"bad.txt.*{message}"):
        read_tum(path)
    with pytest.raises(TrajectoryError, match=r"absent.txt: cannot be read"):
        read_tum(tmp_path / "absent.txt")


def test_seconds_are_exact() -> None:
    assert seconds_to_ns("1305031229.528748032") == 1305031229528748032
    assert seconds_to_ns("-0.5") == -500_000_000
    assert seconds_to_ns("3") == 3_000_000_000
    assert seconds_to_ns("1.036000e+00") == 1_036_000_000


def test_chosen_poses_keep_what_belongs_to_them() -> None:
    path = winding_path(n=9)
    numbers = np.arange(9)
    covariances = numbers[:, None, None] * np.eye(6)
    whole = Trajectory(path.stamps_ns, path.poses, numbers // 3, covariances, 2 * numbers)
    for chosen in (np.array([1, 4, 7]), numbers % 3 == 1):
        some = whole.take(chosen)
        np.testing.assert_array_equal(some.stamps_ns, path.stamps_ns[[1, 4, 7]])
        np.testing.assert_array_equal(some.poses, path.poses[[1, 4, 7]])
        np.testing.assert_array_equal(some.covariances, covariances[[1, 4, 7]])
        assert (some.map_ids.tolist(), some.frames.tolist()) == ([0, 1, 2], [2, 8, 14])


def test_noise_is_of_places_first_and_then_of_turns() -> None:
    covariances = winding_path(n=3).with_noise(2.0, 0.5).covariances
    np.testing.assert_array_equal(covariances, [np.diag([4, 4, 4, 0.25, 0.25, 0.25])] * 3)


@pytest.mark.parametrize("scale", [None, 0.5])
def test_nees_allows_for_the_error_of_the_truth(scale: float | None) -> None:
    rng = np.random.default_rng(2)
    stamps = [i * 50_000_000 for i in range(60)]
    exact = np.array([se3.exp(np.array([0.01, 0, 0.02, 0, 0.01, 0]) * i) for i in range(60)])
    units = 1.0 if scale is None else scale

    def spoil(poses: np.ndarray, sigma_m: float, sigma_rad: float) -> np.ndarray:
        noise = rng.normal(size=(len(poses), 6)) * np.repeat([sigma_m, sigma_rad], 3)
        return np.array([T @ se3.exp(xi) for T, xi in zip(poses, noise, strict=True)])

    nees = []
    for _ in range(40):  # the first pose's error is in all others
        own = exact.copy()
        own[:, :3, 3] /= units
        own = np.concatenate([own[:1], spoil(own[1:], 0.001 / units, 0.001)])
        sigma = np.diag(np.repeat([0.001 / units, 0.001], 3) ** 2)
        estimate = make_trajectory(stamps, list(own), (), [sigma] * 60)
        truth = make_trajectory(stamps, list(spoil(exact, 0.004, 0.003)))
        values = nees_of(estimate, truth.with_noise(0.004, 0.003), scale)
        assert values is not None
        assert np.isnan(values[0])
        nees.append(np.nanmean(values))
        plain = nees_of(estimate, truth, scale)
        assert plain is not None
        assert np.nanmean(plain) > 20.0
    right = 6.0 if scale is None else 5.0
    assert np.mean(nees) == pytest.approx(right, abs=1.0)


@pytest.mark.parametrize("spoiled", ["first", "last"])
def test_nees_takes_the_error_of_the_truth_to_where_it_acts(spoiled: str) -> None:
    """The truth is off by one sigma about, or along, a single axis of one of its poses: NEES 1."""
    turn = np.array([0.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2])
    ahead = np.array([5.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    exact = [np.eye(4), se3.exp(ahead), se3.exp(ahead) @ se3.exp(turn)]
    row, axis = (0, 5) if spoiled == "first" else (2, 0)  # a turn of the first is a shift 5 m on
    error = np.zeros(6)
    error[axis] = 1e-3
    poses = list(exact)
    poses[row] = poses[row] @ se3.exp(error)
    covariances = np.tile(np.eye(6) * 1e-12, (3, 1, 1))
    covariances[row, axis, axis] = 1e-6
    stamps = [T0 + i * 100_000_000 for i in range(3)]
    estimate = make_trajectory(stamps, exact, (), [np.eye(6) * 1e-12] * 3)
    nees = nees_of(estimate, make_trajectory(stamps, poses, (), covariances))
    assert nees is not None
    assert nees[2] == pytest.approx(1.0, rel=0.01)


def test_nees_counts_from_the_first_pose_that_has_a_truth() -> None:
    """What came before, of either, plays no part."""
    path = winding_path(n=60)
    tight, loose = np.eye(6) * 1e-6, np.eye(6)
    exact = np.tile(np.eye(6) * 1e-14, (60, 1, 1))
    late, early = np.arange(2, 60), np.arange(5, 60)
    for of_estimate, of_truth in ((np.arange(60), late), (early, np.arange(60))):
        poses, covariances = path.poses.copy(), exact.copy()
        poses[59] = poses[59] @ se3.exp(np.array([0, 1e-3, 0, 0, 0, 0]))  # one sigma
        before = 0 if len(of_estimate) == 60 else -1
        if before == 0:
            poses[0] = poses[0] @ se3.exp(np.array([0.3, 0, 0, 0.1, 0, 0]))
        estimate = Trajectory(path.stamps_ns, poses, covariances=np.tile(tight, (60, 1, 1))).take(
            of_estimate
        )
        truth_poses = path.poses.copy()
        if before == -1:
            truth_poses[0] = truth_poses[0] @ se3.exp(np.array([0.3, 0, 0, 0.1, 0, 0]))
            covariances[0] = loose
        truth = Trajectory(path.stamps_ns, truth_poses, covariances=covariances).take(of_truth)
        nees = nees_of(estimate, truth)
        assert nees is not None
        assert nees[-1] == pytest.approx(1.0, rel=1e-3)
        np.testing.assert_allclose(nees[3:-1], 0.0, atol=1e-6)


@pytest.mark.parametrize(("first", "is_known"), [(0, True), (2, True), (30, False)])
def test_nees_of_a_truth_that_begins_late_is_not_known(first: int, is_known: bool) -> None:
    path = winding_path(n=60)
    covariances = [np.eye(6) * 1e-6 * i for i in range(60)]  # as of a random walk
    estimate = make_trajectory(path.stamps_ns.tolist(), list(path.poses), (), covariances)
    late = path.take(np.arange(first, 60))
    assert (nees_of(estimate, late) is not None) == is_known
    record = RunRecord("rgbd", path.stamps_ns.tolist(), estimate, wall_s=1.0)
    notes = summarize(record, late).values["notes"]
    assert any("begins long after the map" in note for note in notes) != is_known
