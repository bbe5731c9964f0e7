# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One run in numbers: the keys that `superpoint evaluate bag`, `replay` and `make demo` share.

`frames`: images that came in. `tracked`: of those, frames with a pose. `coverage`: their ratio,
over all maps. `ate_rmse_m`, `rpe_trans_m`, `rpe_rot_deg`, `scale`: see `trajectory`; of the
longest map, null without ground truth. `nees`: mean squared error of its poses since its first one
in units of their covariance: 6 if the covariance is right, 5 for mono, whose scale is left free;
null live. `lost_intervals`: runs of frames without a pose. `fps`: frames per second of wall time.
`latency_ms`: stage -> p50, p95, p99.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import superpoint_ros
from superpoint_ros.data import Array
from superpoint_ros.evaluation.trajectory import (
    Trajectory,
    TrajectoryErrors,
    evaluate_trajectory,
    longest_map,
    lost_intervals,
    nees_of,
)
from superpoint_ros.evaluation.truth_fit import TruthFit, fit_truth

# A metric sensor whose path fits the truth only after such scaling has a wrong unit or baseline.
_SCALE_LIMITS = (0.7, 1.4)
_FITTED_SHARE = 0.5  # of the NEES: if clock and mount leave less, the truth is worth a look
_MAX_SCALED_RESIDUAL = 0.2  # of the truth's own spread: a worse fit says nothing about scale


@dataclass(frozen=True)
class RunRecord:
    """What has to be known of a run to judge it, in lock-step or live.

    Attributes:
        sensor: "mono", "stereo", "rgbd" or "homography".
        stamps_ns: Of all frames that came in, in order.
        trajectory: Poses of the frames that got one, with map ids and places in `stamps_ns`.
        wall_s: Wall time of the run, seconds.
        latency_ms: Stage -> p50, p95, p99.
        skipped: Place in `stamps_ns` -> why this frame could not be used.
        gaps_ns: Gaps between the stamps of paired messages.
        model_id: Name of the network.
        weights_sha256: Of its weights file.
        is_tracked: Of all frames; None: those of `trajectory` are.
        unanswered: Places of frames that went out but that no node answered (live).
    """

    sensor: str
    stamps_ns: Sequence[int]
    trajectory: Trajectory
    wall_s: float
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    skipped: Mapping[int, str] = field(default_factory=dict)
    gaps_ns: Sequence[int] = ()
    model_id: str = ""
    weights_sha256: str = ""
    is_tracked: Sequence[bool] | None = None
    unanswered: Collection[int] = ()


@dataclass(frozen=True)
class Summary:
    """A judged run.

    Attributes:
        values: JSON-ready, the keys of the module's docstring and more.
        errors: Of the longest map; None without (enough) ground truth.
        estimate: Poses of the longest map.
        nees: (N,) of these poses, see `trajectory.nees_of`; None if not known.
    """

    values: dict[str, Any]
    errors: TrajectoryErrors | None
    estimate: Trajectory
    nees: Array | None


def summarize(record: RunRecord, truth: Trajectory | None = None, truth_name: str = "") -> Summary:
    """Judge a run.

    Args:
        record: The run.
        truth: Poses of the same camera; None if there are none.
        truth_name: Topic or file of the truth.
    """
    notes: list[str] = []
    with_scale = record.sensor == "mono"
    frames = len(record.stamps_ns)
    with_pose = set(record.trajectory.frames.tolist())
    tracked = record.is_tracked or [i in with_pose for i in range(frames)]
    num_tracked = sum(tracked)

    estimate = longest_map(record.trajectory)
    maps = _describe_maps(record, truth, with_scale)
    errors = None
    if truth is None:
        notes.append("no ground truth: ATE, RPE and scale are not known")
    else:
        unused = {*record.skipped, *record.unanswered}
        errors = evaluate_trajectory(estimate, truth, with_scale, unused=unused)
        if errors is None:
            notes.append(_why_no_errors(estimate, truth))
    if len(maps) > 1:
        notes.append(
            f"the map was started anew {len(maps) - 1} times: ATE, RPE and scale are those of the "
            f"longest map, {len(estimate)} of {num_tracked} tracked frames"
        )
    if record.sensor in ("rgbd", "stereo") and truth is not None and errors is not None:
        scaled = evaluate_trajectory(estimate, truth, with_scale=True)
        if scaled is not None and _is_scale_wrong(scaled):
            notes.append(
                f"the truth is {errors.scale:.3g} times the estimate: wrong unit of depth "
                "(--depth-units-per-metre) or baseline?"
            )
    if record.skipped:
        first = next(iter(record.skipped.values()))
        notes.append(f"{len(record.skipped)} frames could not be used, the first: {first}")

    nees = None
    if truth is not None and errors is not None:
        nees = nees_of(estimate, truth, errors.scale if with_scale else None)
        if nees is None and estimate.covariances is not None:
            notes.append("the ground truth begins long after the map: no NEES")
    fit = fit_truth(estimate, truth) if nees is not None and truth and not with_scale else None
    if fit is not None and nees is not None and fit.nees < _FITTED_SHARE * np.nanmean(nees):
        notes.append(
            f"most of the NEES may be the ground truth's: its clock {1e3 * fit.delay_s:+.1f} ms "
            f"early and its body turned by {fit.mount_deg:.2f} deg against the camera, "
            f"{fit.nees:.3g} is left"
        )
    values: dict[str, Any] = {
        "sensor": record.sensor,
        "frames": frames,
        "tracked": num_tracked,
        "coverage": num_tracked / frames if frames else 0.0,
        "ate_rmse_m": errors and errors.ate_rmse_m,
        "rpe_trans_m": errors and errors.rpe_trans_m,
        "rpe_rot_deg": errors and errors.rpe_rot_deg,
        "scale": errors and errors.scale,
        "nees": None if nees is None else float(np.nanmean(nees)),
        "truth_fit": _describe_fit(fit),
        "alignment": "sim3" if with_scale else "se3",
        "kitti_t_err_percent": errors and errors.kitti_t_err_percent,
        "kitti_r_err_deg_per_100m": errors and errors.kitti_r_err_deg_per_100m,
        "kitti_lengths_m": list(errors.kitti_lengths_m) if errors else [],
        "path_length_m": errors and errors.path_length_m,
        "associated": len(errors.stamps_ns) if errors else 0,
        "ground_truth": truth_name or None,
        "maps": maps,
        "lost_intervals": lost_intervals(list(record.stamps_ns), tracked),
        "skipped": [
            {"stamp_s": record.stamps_ns[i] * 1e-9, "reason": reason}
            for i, reason in record.skipped.items()
        ],
        "stamp_gap_ms": _gaps(record.gaps_ns),
        "fps": frames / record.wall_s if record.wall_s > 0 else 0.0,
        "wall_s": record.wall_s,
        "latency_ms": {stage: dict(values) for stage, values in record.latency_ms.items()},
        "model_id": record.model_id,
        "weights_sha256": record.weights_sha256,
        "version": superpoint_ros.__version__,
        "notes": notes,
    }
    return Summary(values, errors, estimate, nees)


def _why_no_errors(estimate: Trajectory, truth: Trajectory) -> str:
    if not len(estimate) or not len(truth):
        return f"the {'run' if len(truth) else 'ground truth'} has no poses: no ATE"
    run, of_truth = (
        "from {:.3f} to {:.3f} s".format(*(1e-9 * part.stamps_ns[[0, -1]]))
        for part in (estimate, truth)
    )
    return (
        "fewer than 3 poses within 20 ms of the ground truth: no ATE, "
        f"the run {run}, the truth {of_truth}"
    )


def _describe_fit(fit: TruthFit | None) -> dict[str, float] | None:
    if fit is None:
        return None
    return {
        "delay_ms": 1e3 * fit.delay_s,
        "mount_mm": float(1e3 * np.linalg.norm(fit.mount[:3])),
        "mount_deg": fit.mount_deg,
        "nees": fit.nees,
    }


def _describe_maps(
    record: RunRecord, truth: Trajectory | None, with_scale: bool
) -> list[dict[str, Any]]:
    maps = []
    for map_id in dict.fromkeys(record.trajectory.map_ids.tolist()):
        part = record.trajectory.take(record.trajectory.map_ids == map_id)
        errors = truth and evaluate_trajectory(part, truth, with_scale)
        maps.append(
            {
                "map_id": map_id,
                "frames": len(part),
                "start_s": (int(part.stamps_ns[0]) - record.stamps_ns[0]) * 1e-9,
                "end_s": (int(part.stamps_ns[-1]) - record.stamps_ns[0]) * 1e-9,
                "ate_rmse_m": errors.ate_rmse_m if errors else None,
            }
        )
    return maps


def _is_scale_wrong(scaled: TrajectoryErrors) -> bool:
    """Whether the estimate, once scaled, fits the truth well, but the scale is far from 1."""
    positions = scaled.truth[:, :3, 3]
    spread = float(np.sqrt(np.square(positions - positions.mean(axis=0)).sum(axis=1).mean()))
    low, high = _SCALE_LIMITS
    return not low <= scaled.scale <= high and scaled.ate_rmse_m < _MAX_SCALED_RESIDUAL * spread


def _gaps(gaps_ns: Sequence[int]) -> dict[str, float] | None:
    if not len(gaps_ns):
        return None
    gaps_ms = np.abs(np.asarray(gaps_ns, np.float64)) * 1e-6
    return {"median": float(np.median(gaps_ms)), "largest": float(gaps_ms.max())}
