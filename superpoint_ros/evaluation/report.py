# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run for people: a table, a plot of the trajectory, a picture of the tracks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from superpoint_ros.data import Array, TrackingState
from superpoint_ros.evaluation.map_points import write_ply
from superpoint_ros.evaluation.results import BagResult
from superpoint_ros.evaluation.summary import Summary
from superpoint_ros.evaluation.trajectory import Trajectory, write_kitti, write_times, write_tum
from superpoint_ros.files import replaced
from superpoint_ros.image import write_image

_ESTIMATE_COLOUR, _TRUTH_COLOUR = "#d1495b", "#30638e"


def print_summary(summary: Summary, console: Console, title: str = "") -> None:
    """Print the numbers a person wants first, then the notes."""
    values = summary.values
    table = Table(title=title or None, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("sensor", values["sensor"])
    table.add_row("frames in", str(values["frames"]))
    table.add_row("frames tracked", f"{values['tracked']} ({100 * values['coverage']:.1f} %)")
    table.add_row(f"ATE RMSE ({values['alignment'].upper()})", _number(values["ate_rmse_m"], "m"))
    table.add_row("RPE translation", _number(values["rpe_trans_m"], "m per frame"))
    table.add_row("RPE rotation", _number(values["rpe_rot_deg"], "deg per frame"))
    if values["nees"] is not None:
        right = 5 if values["alignment"] == "sim3" else 6
        table.add_row("NEES of the covariance", f"{values['nees']:.3g} ({right} is right)")
    table.add_row("scale (truth / estimate)", _number(values["scale"], ""))
    table.add_row("path of the truth", _number(values["path_length_m"], "m"))
    if values["kitti_t_err_percent"] is not None:
        lengths_m = values["kitti_lengths_m"]
        over = f"over {lengths_m[0]:.3g} to {lengths_m[-1]:.3g} m"
        table.add_row(f"t_err {over}", _number(values["kitti_t_err_percent"], "%"))
        r_err = _number(values["kitti_r_err_deg_per_100m"], "deg per 100 m")
        table.add_row(f"r_err {over}", r_err)
    table.add_row("rate", f"{values['fps']:.1f} frames/s")
    for stage, latency in values["latency_ms"].items():
        if "/" not in stage:
            table.add_row(
                f"latency {stage}",
                f"p50 {latency['p50']:.1f}, p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f} ms",
            )
    if values["stamp_gap_ms"] is not None:
        table.add_row("stamp gap of pairs", f"at most {values['stamp_gap_ms']['largest']:.1f} ms")
    table.add_row("lost intervals", str(len(values["lost_intervals"])))
    console.print(table)
    for note in values["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def write_run(folder: Path, result: BagResult) -> list[Path]:
    """Write trajectory, plot, picture and map of a run.

    Args:
        folder: Made if absent.
        result: The run; pictures and landmarks are written if it has them.

    Returns:
        The paths written.

    Raises:
        OSError: The folder cannot be written to.
    """
    written = write_trajectory(folder, result.run.trajectory())
    written.append(folder / "trajectory.png")
    plot_trajectory(written[-1], result.summary)
    if result.pictures:
        tracked = [m for m in result.pictures if m.state is TrackingState.TRACKING]
        chosen = tracked or result.pictures
        jpeg = np.frombuffer(chosen[len(chosen) // 2].jpeg, np.uint8)
        written.append(folder / "annotated.png")
        write_image(written[-1], np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)))
    if result.landmarks is not None:
        written.append(folder / "map.ply")
        write_ply(written[-1], result.landmarks)
    return written


def write_trajectory(folder: Path, trajectory: Trajectory) -> list[Path]:
    """Write all poses, every map, in TUM's and KITTI's format; return the paths.

    KITTI's has no stamps and no room for frames without a pose, so the times of its lines stand
    in a file beside it, as in KITTI's own `times.txt`.
    """
    names = ("trajectory.tum", "trajectory_kitti.txt", "trajectory_kitti_times.txt")
    written = [folder / name for name in names]
    for path, write in zip(written, (write_tum, write_kitti, write_times), strict=True):
        write(path, trajectory)
    return written


def plot_trajectory(path: Path, summary: Summary) -> None:
    """Draw estimate against truth from the side with most motion, and the error over time."""
    # Not pyplot: no global state, no backend to choose, nothing left open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    errors = summary.errors
    if errors is None:
        stamps_ns, estimate, truth = summary.estimate.stamps_ns, summary.estimate.poses, None
    else:
        stamps_ns, estimate, truth = errors.stamps_ns, errors.aligned, errors.truth
    positions = estimate[:, :3, 3]
    horizontal, vertical = _widest_axes(positions if truth is None else truth[:, :3, 3])

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    plan, time_axis = figure.subplots(1, 2, width_ratios=(1, 1))
    if truth is not None:
        plan.plot(
            truth[:, horizontal, 3],
            truth[:, vertical, 3],
            color=_TRUTH_COLOUR,
            linewidth=4,
            alpha=0.6,
            label="truth",
        )
    plan.plot(
        positions[:, horizontal], positions[:, vertical], color=_ESTIMATE_COLOUR, label="estimate"
    )
    if len(positions):
        plan.plot(positions[0, horizontal], positions[0, vertical], "ko", label="start")
    unit = "units of the map" if _is_up_to_scale(summary) else "m"
    plan.set_xlabel(f"{'xyz'[horizontal]} [{unit}]")
    plan.set_ylabel(f"{'xyz'[vertical]} [{unit}]")
    plan.set_aspect("equal", adjustable="datalim")
    plan.grid(alpha=0.3)
    plan.legend()
    values = summary.values
    plan.set_title(f"{values['sensor']}: {values['tracked']} of {values['frames']} frames tracked")

    seconds = (stamps_ns - stamps_ns[0]) * 1e-9 if len(stamps_ns) else np.zeros(0)
    if errors is None:
        for axis, name in enumerate("xyz"):
            time_axis.plot(seconds, positions[:, axis], label=name)
        time_axis.set_ylabel(f"position [{unit}]")
        time_axis.set_title("no ground truth")
        time_axis.legend()
    else:
        time_axis.plot(seconds, errors.errors_m, color=_ESTIMATE_COLOUR)
        time_axis.axhline(errors.ate_rmse_m, color="black", linestyle="--", linewidth=1)
        time_axis.set_ylim(bottom=0.0)
        time_axis.set_ylabel("position error [m]")
        time_axis.set_title(
            f"ATE {errors.ate_rmse_m:.4g} m RMSE after {values['alignment'].upper()} alignment"
        )
    time_axis.set_xlabel("time [s]")
    time_axis.grid(alpha=0.3)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _is_up_to_scale(summary: Summary) -> bool:
    return summary.errors is None and summary.values["sensor"] == "mono"


def _widest_axes(positions: Array) -> tuple[int, int]:
    """Return the two axes with most extent, in alphabetical order."""
    if not len(positions):
        return 0, 1
    order = np.argsort(-np.ptp(positions, axis=0), kind="stable")
    first, second = sorted(order[:2].tolist())
    return int(first), int(second)


def _number(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.4g} {unit}".rstrip()
