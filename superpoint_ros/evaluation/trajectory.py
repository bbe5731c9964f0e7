# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories: files, and how far an estimate is from the truth. evo does ATE and RPE.

Rules, so that numbers compare:

- Poses are associated by the nearest stamp, at most `MAX_ASSOCIATION_S` apart, each once.
- ATE: RMSE of the translation after Umeyama alignment of all associated poses; SE3 for sensors
  that know metres, Sim3 for mono. `scale` is Sim3's in both cases (1 is perfect), but only mono
  is corrected by it.
- RPE: RMSE over neighbouring associated poses: one frame apart, of the frames that were used, so
  no pair reaches across frames that were lost or have no truth.
- t_err and r_err: as KITTI's, the mean over all pairs of poses that a path of 100, 200 ... 800 m
  lies between (every pose begins one; KITTI takes every tenth). A path that is shorter than 100 m
  is cut at 10, 20 ... 80 % of its own length, and `kitti_lengths_m` tells; of less than
  `MIN_KITTI_PATH_M` there are none, since the noise of standing still is no path.
- A fresh start of the map (`map_id` changes) is never glued to what came before: every map is
  aligned on its own, and the headline is that of the map with most poses (the earliest, if equal).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.files import write_text
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.se3 import pose_from_quaternion, quaternion_from_rotation

MAX_ASSOCIATION_S = 0.02
KITTI_LENGTHS_M = (100, 200, 300, 400, 500, 600, 700, 800)
MIN_KITTI_PATH_M = 0.5
MAX_STAMP_S = 1e11  # the year 5138: a larger number is of nanoseconds
_MIN_QUATERNION = 1e-6  # a shorter one has no direction
_MIN_POSES = 3  # alignment of fewer is no statement
_KITTI_TOLERANCE = 0.1  # of a length: evo's default
_MAX_LATE_SHARE = 0.05  # of a map's poses that may come before the truth


class TrajectoryError(ValueError):
    """A trajectory file that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Trajectory:
    """Poses over time.

    Attributes:
        stamps_ns: (N,) int64, ascending within a map.
        poses: (N, 4, 4) float64, T_world_cam (ground truth: whatever body was tracked).
        map_ids: (N,) int64; poses compare only within one map.
        covariances: (N, 6, 6) of the poses, see `geometry.se3`; None if unknown, or exact.
        frames: (N,) int64, ascending: which frame of the run each pose is of; if not given, they
            follow one another.
    """

    stamps_ns: Array
    poses: Array
    map_ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    covariances: Array | None = None
    frames: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        if self.poses.shape != (n, 4, 4):
            raise ValueError(f"poses {self.poses.shape} must be ({n}, 4, 4)")
        if not len(self.map_ids):
            object.__setattr__(self, "map_ids", np.zeros(n, np.int64))
        if not len(self.frames):
            object.__setattr__(self, "frames", np.arange(n))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def length_m(self) -> float:
        """Length of the path, metres."""
        return float(np.linalg.norm(np.diff(self.poses[:, :3, 3], axis=0), axis=1).sum())

    def with_noise(self, sigma_m: float, sigma_rad: float) -> Trajectory:
        """Return the same poses with that standard deviation along and about each axis."""
        covariance = np.diag(np.repeat([sigma_m, sigma_rad], 3) ** 2)
        return dataclasses.replace(self, covariances=np.tile(covariance, (len(self), 1, 1)))

    def take(self, indices: Array) -> Trajectory:
        """Return the poses at `indices` (integers or a boolean mask)."""
        covariances = None if self.covariances is None else self.covariances[indices]
        return Trajectory(
            self.stamps_ns[indices],
            self.poses[indices],
            self.map_ids[indices],
            covariances,
            self.frames[indices],
        )


def make_trajectory(
    stamps_ns: Sequence[int],
    poses: Sequence[Array],
    map_ids: Sequence[int] = (),
    covariances: Sequence[Array] = (),
) -> Trajectory:
    """Build a trajectory from lists in any order; of equal stamps the last one stays."""
    order = {stamp: i for i, stamp in enumerate(stamps_ns)}
    indices = [order[stamp] for stamp in sorted(order)]
    return Trajectory(
        np.array([stamps_ns[i] for i in indices], np.int64),
        np.array([poses[i] for i in indices], np.float64).reshape(-1, 4, 4),
        np.array([map_ids[i] for i in indices] if len(map_ids) else [], np.int64),
        np.array([covariances[i] for i in indices]) if len(covariances) else None,
    )


@dataclass(frozen=True)
class TrajectoryErrors:
    """How far one map is from the truth.

    Attributes:
        ate_rmse_m: Metres, after alignment.
        rpe_trans_m: Metres per frame, RMSE; None if no two neighbouring frames have a truth.
        rpe_rot_deg: Degrees per frame, likewise.
        scale: Of Sim3 alignment, truth over estimate.
        kitti_t_err_percent: Mean translation error over parts of the path; None if it has none.
        kitti_r_err_deg_per_100m: Mean rotation error over the same.
        kitti_lengths_m: Of the parts: KITTI's own, or scaled to a short path.
        path_length_m: Of the truth along the associated poses.
        stamps_ns: (M,) associated stamps.
        frames: (M,) the frames they are of.
        aligned: (M, 4, 4) the estimate in the world of the truth.
        truth: (M, 4, 4) the truth.
        errors_m: (M,) distance of each pair of positions.
    """

    ate_rmse_m: float
    rpe_trans_m: float | None
    rpe_rot_deg: float | None
    scale: float
    kitti_t_err_percent: float | None
    kitti_r_err_deg_per_100m: float | None
    kitti_lengths_m: tuple[float, ...]
    path_length_m: float
    stamps_ns: Array
    frames: Array
    aligned: Array
    truth: Array
    errors_m: Array


def evaluate_trajectory(
    estimate: Trajectory,
    truth: Trajectory,
    with_scale: bool,
    max_association_s: float = MAX_ASSOCIATION_S,
    unused: Collection[int] = (),
) -> TrajectoryErrors | None:
    """Compare one map with the truth by evo.

    Args:
        estimate: Poses of one map.
        truth: Poses to compare with, of the same body.
        with_scale: Align with Sim3 (mono) instead of SE3.
        max_association_s: Largest distance of two stamps that count as one time.
        unused: Frames that the odometry never got: those before and after are neighbours.

    Returns:
        The errors; None if fewer than three poses can be associated.
    """
    # evo brings SciPy along, half a second: only those who measure pay.
    from evo.core import metrics
    from evo.core.units import Unit

    if len(estimate) < _MIN_POSES or len(truth) < _MIN_POSES:
        return None
    # evo's own association starts from the shorter of the two and may take a pose many times.
    rows, of_truth = associate(estimate, truth, max_association_s)
    if len(rows) < _MIN_POSES:
        return None
    estimate = estimate.take(rows)
    origin_ns = int(truth.stamps_ns[0])  # seconds in float64 would lose the nanoseconds
    reference, aligned = _to_evo(truth.take(of_truth), origin_ns), _to_evo(estimate, origin_ns)
    T_truth_estimate, scale = _align(aligned, reference, with_scale)
    if with_scale:
        aligned.scale(scale)
    aligned.transform(T_truth_estimate)

    pair = (reference, aligned)
    ate = metrics.APE(metrics.PoseRelation.translation_part)
    ate.process_data(pair)
    used = estimate.frames - np.searchsorted(sorted(unused), estimate.frames)
    are_neighbours = np.diff(used) == 1
    rpe_values: list[float | None] = []
    for relation in (
        metrics.PoseRelation.translation_part,
        metrics.PoseRelation.rotation_angle_deg,
    ):
        rpe = metrics.RPE(relation, delta=1, delta_unit=Unit.frames, all_pairs=True)
        rpe.process_data(pair)
        values = rpe.error[are_neighbours]
        rpe_values.append(float(np.sqrt(np.mean(values**2))) if len(values) else None)
    lengths_m = _kitti_lengths(float(reference.path_length))
    t_err, r_err = _kitti_errors(
        np.asarray(reference.poses_se3), np.asarray(aligned.poses_se3), lengths_m
    )
    return TrajectoryErrors(
        ate_rmse_m=float(ate.get_statistic(metrics.StatisticsType.rmse)),
        rpe_trans_m=rpe_values[0],
        rpe_rot_deg=rpe_values[1],
        scale=scale,
        kitti_t_err_percent=t_err,
        kitti_r_err_deg_per_100m=r_err,
        kitti_lengths_m=lengths_m if t_err is not None else (),
        path_length_m=float(reference.path_length),
        stamps_ns=estimate.stamps_ns,
        frames=estimate.frames,
        aligned=np.asarray(aligned.poses_se3),
        truth=np.asarray(reference.poses_se3),
        errors_m=np.asarray(ate.error),
    )


def longest_map(estimate: Trajectory) -> Trajectory:
    """Return the poses of the map that has most of them; of equal ones the earliest."""
    maps, first, counts = np.unique(estimate.map_ids, return_index=True, return_counts=True)
    if len(maps) < 2:
        return estimate
    best = min(range(len(maps)), key=lambda i: (-counts[i], first[i]))
    return estimate.take(estimate.map_ids == maps[best])


def lost_intervals(
    stamps_ns: Sequence[int], has_pose: Sequence[bool]
) -> list[dict[str, float | int]]:
    """Return the runs of frames without a pose: start and end in seconds since the first frame."""
    intervals: list[dict[str, float | int]] = []
    was_lost = False
    for stamp_ns, is_tracked in zip(stamps_ns, has_pose, strict=True):
        if is_tracked:
            was_lost = False
            continue
        seconds = (stamp_ns - stamps_ns[0]) * 1e-9
        if not was_lost:
            intervals.append({"start_s": seconds, "end_s": seconds, "frames": 0})
        intervals[-1]["end_s"] = seconds
        intervals[-1]["frames"] += 1
        was_lost = True
    return intervals


def recorded_pose(position: Array, quaternion_xyzw: Array) -> Array:
    """Return the pose (4, 4) of a recorded quaternion of any length; NaN if it has none."""
    if not np.linalg.norm(quaternion_xyzw) > _MIN_QUATERNION:
        return np.full((4, 4), np.nan)
    return pose_from_quaternion(position, quaternion_xyzw)


def read_tum(path: Path | str) -> Trajectory:
    """Read "stamp tx ty tz qx qy qz qw" lines, seconds and metres; '#' starts a comment.

    Raises:
        TrajectoryError: Unreadable, no number, not eight of them, or a stamp that is no second;
            names the line.
    """
    stamps, poses = [], []
    for number, words in _rows(path):
        if len(words) != 8:
            raise TrajectoryError(
                f"{path}, line {number}: expected 8 numbers (stamp tx ty tz qx qy qz qw), "
                f"got {len(words)}"
            )
        values = _numbers(words, path, number)
        if not np.linalg.norm(values[4:]) > 0.0:
            raise TrajectoryError(f"{path}, line {number}: the quaternion is zero")
        if abs(values[0]) > MAX_STAMP_S:
            raise TrajectoryError(
                f"{path}, line {number}: a stamp of {words[0]} s: are these nanoseconds? "
                "Divide them by 1e9"
            )
        stamps.append(seconds_to_ns(words[0]))
        poses.append(pose_from_quaternion(np.array(values[1:4]), np.array(values[4:])))
    if not stamps:
        raise TrajectoryError(f"{path}: holds no pose")
    return make_trajectory(stamps, poses)


def read_kitti(path: Path | str, stamps_ns: Sequence[int]) -> Trajectory:
    """Read KITTI poses, twelve numbers a line (3x4, row-major), one line per image.

    Raises:
        TrajectoryError: Unreadable, wrong counts; names the line.
    """
    poses = []
    for number, words in _rows(path):
        if len(words) != 12:
            raise TrajectoryError(f"{path}, line {number}: expected 12 numbers, got {len(words)}")
        T = np.eye(4)
        T[:3] = np.reshape(_numbers(words, path, number), (3, 4))
        poses.append(T)
    if len(poses) != len(stamps_ns):
        raise TrajectoryError(f"{path}: {len(poses)} poses for {len(stamps_ns)} images")
    return make_trajectory(stamps_ns, poses)


def write_tum(path: Path | str, trajectory: Trajectory) -> None:
    """Write "stamp tx ty tz qx qy qz qw" lines; the stamps keep their nanoseconds."""
    lines = ["# stamp tx ty tz qx qy qz qw (T_world_cam, optical frame; seconds, metres)"]
    for stamp_ns, T in zip(trajectory.stamps_ns, trajectory.poses, strict=True):
        numbers = [*T[:3, 3], *quaternion_from_rotation(T[:3, :3])]
        lines.append(" ".join([_seconds(stamp_ns), *(f"{number:.9f}" for number in numbers)]))
    write_text(path, "\n".join(lines) + "\n")


def write_kitti(path: Path | str, trajectory: Trajectory) -> None:
    """Write twelve numbers a line (3x4, row-major); KITTI has no stamps."""
    lines = [" ".join(f"{number:.9e}" for number in T[:3].ravel()) for T in trajectory.poses]
    write_text(path, "\n".join(lines) + "\n")


def write_times(path: Path | str, trajectory: Trajectory) -> None:
    """Write the stamp of each pose, seconds, one a line."""
    write_text(path, "".join(f"{_seconds(stamp)}\n" for stamp in trajectory.stamps_ns))


def _seconds(stamp_ns: int) -> str:
    seconds, nanoseconds = divmod(int(stamp_ns), 1_000_000_000)
    return f"{seconds}.{nanoseconds:09d}"


def seconds_to_ns(text: str) -> int:
    """Return nanoseconds of a decimal number of seconds, without a detour through float.

    Raises:
        ValueError: It is no number.
    """
    if "e" in text.lower():
        return round(float(text) * 1e9)
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.lstrip("+-").partition(".")
    return sign * (int(whole or "0") * 1_000_000_000 + int((fraction + "0" * 9)[:9]))


def _align(estimate: Any, reference: Any, with_scale: bool) -> tuple[Array, float]:
    """Return T_truth_estimate (after scaling, if `with_scale`) and the scale of Sim3."""
    from evo.core import geometry

    points, target = estimate.positions_xyz, reference.positions_xyz
    try:
        R, t, scale = geometry.umeyama_alignment(points.T, target.T, with_scale=True)
        if not with_scale:
            R, t, _ = geometry.umeyama_alignment(points.T, target.T, with_scale=False)
    except geometry.GeometryException:
        # Positions on one line, or in one point, leave the rotation about it open: that of the
        # first pose settles it.
        R = reference.poses_se3[0][:3, :3] @ estimate.poses_se3[0][:3, :3].T
        spreads = [float(np.linalg.norm(p - p.mean(axis=0))) for p in (target, points)]
        scale = spreads[0] / spreads[1] if min(spreads) > 0.0 else 1.0
        t = target.mean(axis=0) - (scale if with_scale else 1.0) * R @ points.mean(axis=0)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T, float(scale)


def _to_evo(trajectory: Trajectory, origin_ns: int) -> Any:
    from evo.core.trajectory import PoseTrajectory3D

    return PoseTrajectory3D(
        poses_se3=list(trajectory.poses), timestamps=(trajectory.stamps_ns - origin_ns) * 1e-9
    )


def _kitti_lengths(path_length_m: float) -> tuple[float, ...]:
    """Return the lengths of KITTI's that fit into the path, or eight shares of a short one."""
    if path_length_m < MIN_KITTI_PATH_M:
        return ()
    if path_length_m >= KITTI_LENGTHS_M[0]:
        return tuple(float(length) for length in KITTI_LENGTHS_M if length <= path_length_m)
    return tuple(0.1 * share * path_length_m for share in range(1, 9))


def _kitti_errors(
    truth: Array, estimate: Array, lengths_m: Sequence[float]
) -> tuple[float | None, float | None]:
    """Return the mean errors over parts of the path: percent and degrees per 100 m.

    A part of every length starts at every pose and ends at the one whose way is nearest to it,
    within a tenth, as evo pairs them; evo takes minutes for an hour's poses.
    """
    translations: list[Array] = []
    rotations: list[Array] = []
    way = np.concatenate(
        [[0.0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1))]
    )
    here = np.arange(len(way))
    for length_m in lengths_m:
        after = np.clip(np.searchsorted(way, way + length_m), 1, len(way) - 1)
        before = np.maximum(np.searchsorted(way, way[after - 1]), here + 1).clip(max=after)
        gaps = np.abs(way[[before, after]] - way - length_m)
        ends = np.where(gaps[0] <= gaps[1], before, after)
        starts = np.flatnonzero((gaps.min(axis=0) <= _KITTI_TOLERANCE * length_m) & (ends > here))
        ends = ends[starts]
        (R_true, t_true), (R, t) = (_motions(T[starts], T[ends]) for T in (truth, estimate))
        translations.append(np.linalg.norm(t - t_true, axis=1) / length_m)
        rotations.append(se3.angles_between(R_true, R) / length_m)
    if not sum(map(len, translations)):
        return None, None
    percent = 100.0 * float(np.mean(np.concatenate(translations)))
    return percent, 100.0 * float(np.rad2deg(np.mean(np.concatenate(rotations))))


def _motions(T_world_a: Array, T_world_b: Array) -> tuple[Array, Array]:
    """Return R_a_b (N, 3, 3) and t_a_b (N, 3) of poses (N, 4, 4)."""
    R_a_world = T_world_a[:, :3, :3].transpose(0, 2, 1)
    way = (T_world_b - T_world_a)[:, :3, 3]
    return R_a_world @ T_world_b[:, :3, :3], (R_a_world @ way[..., None])[..., 0]


def _rows(path: Path | str) -> list[tuple[int, list[str]]]:
    """Return (line number, words) of the lines that are no comments."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # some editors begin with a mark
    except OSError as error:
        raise TrajectoryError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise TrajectoryError(f"{path}: is not a text file") from None
    lines = (
        (i, line.split("#")[0].replace(",", " ")) for i, line in enumerate(text.split("\n"), 1)
    )
    return [(i, line.split()) for i, line in lines if line.strip()]


def _numbers(words: Sequence[str], path: Path | str, number: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise TrajectoryError(f"{path}, line {number}: {error}") from None
    if not np.isfinite(values).all():
        raise TrajectoryError(f"{path}, line {number}: holds NaN or infinity")
    return values


def pose_nees(
    T_estimate: Array, T_true: Array, covariance: Array, is_up_to_scale: bool = False
) -> float:
    """Return the squared error of a pose in units of its covariance; 6 on average if that is so.

    Args:
        T_estimate: (4, 4), since the pose that is exact by definition.
        T_true: (4, 4), since the same.
        covariance: (6, 6) of xi in T_estimate = T_true exp(xi).
        is_up_to_scale: Whether the length of the way is not known (mono): each pose may then
            stretch the true way as fits it best, and 5 is right.
    """
    if not is_up_to_scale:
        error = se3.log(se3.inverse(T_true) @ T_estimate)
        return float(error @ np.linalg.solve(covariance, error))
    R = T_true[:3, :3]
    error = np.concatenate([R.T @ T_estimate[:3, 3], se3.log_so3(R.T @ T_estimate[:3, :3])])
    way = np.concatenate([R.T @ T_true[:3, 3], np.zeros(3)])
    weighted = np.linalg.solve(covariance, np.column_stack([error, way]))
    stretch = way @ weighted[:, 0] / max(way @ weighted[:, 1], 1e-30)
    return float((error - stretch * way) @ (weighted[:, 0] - stretch * weighted[:, 1]))


def associate(
    estimate: Trajectory, truth: Trajectory, max_association_s: float = MAX_ASSOCIATION_S
) -> tuple[Array, Array]:
    """Return the rows (M,) of estimate and of truth that belong to one time, each once."""
    after = np.clip(np.searchsorted(truth.stamps_ns, estimate.stamps_ns), 1, len(truth) - 1)
    gaps = [np.abs(truth.stamps_ns[i] - estimate.stamps_ns) for i in (after - 1, after)]
    gap, nearest = np.minimum(*gaps), np.where(gaps[0] <= gaps[1], after - 1, after)
    rows = np.flatnonzero(gap <= 1e9 * max_association_s)
    rows = rows[np.argsort(gap[rows], kind="stable")]
    rows = np.sort(rows[np.unique(nearest[rows], return_index=True)[1]])
    return rows, nearest[rows]


def nees_of(
    estimate: Trajectory,
    truth: Trajectory,
    scale: float | None = None,
    max_association_s: float = MAX_ASSOCIATION_S,
) -> Array | None:
    """Return the `pose_nees` (N,) of a map, poses and truth both since the first one associated.

    The truth is measured too: where it has covariances, its own error at that pose and at the
    first one add to what the estimate's covariance allows.

    Args:
        estimate: Poses of one map; the first is taken as exact.
        truth: Of the same body.
        scale: Of a map without one (mono), truth over estimate, about: 5 is right then, instead
            of 6; None: metric.
        max_association_s: Largest distance of two stamps that count as one time.

    Returns:
        NaN for the first pose and where there is no truth; None without covariances, with fewer
        than three pairs, or where the truth begins after more than a twentieth of the poses: the
        covariances are of the whole drift, the errors of what came after.
    """
    if estimate.covariances is None or not len(truth) or len(estimate) < _MIN_POSES:
        return None
    rows, of_truth = associate(estimate, truth, max_association_s)
    if len(rows) < _MIN_POSES:
        return None
    if rows[0] > _MAX_LATE_SHARE * len(estimate):
        return None
    from_estimate = se3.inverse(estimate.poses[rows[0]])
    from_truth = se3.inverse(truth.poses[of_truth[0]])
    units = np.repeat([1.0 if scale is None else scale, 1.0], 3)  # of the truth in the map's
    nees = np.full(len(estimate), np.nan)
    for i, j in zip(rows[1:], of_truth[1:], strict=True):
        T_true, covariance = from_truth @ truth.poses[j], estimate.covariances[i]
        if truth.covariances is not None:
            Ad = se3.adjoint(se3.inverse(T_true))
            first, here = truth.covariances[of_truth[0]], truth.covariances[j]
            covariance = covariance + (here + Ad @ first @ Ad.T) / np.outer(units, units)
        with contextlib.suppress(np.linalg.LinAlgError):
            T_estimate = from_estimate @ estimate.poses[i]
            nees[i] = pose_nees(T_estimate, T_true, covariance, scale is not None)
    return nees
