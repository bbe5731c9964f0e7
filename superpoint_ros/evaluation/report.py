# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run for people: a table, a plot of the trajectory, a picture of the tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from superpoint_ros.data import Array, Observation, TrackingResult, TrackingState
from superpoint_ros.drawing import draw_result
from superpoint_ros.evaluation.summary import Summary
from superpoint_ros.evaluation.trajectory import Trajectory, write_tum
from superpoint_ros.files import replaced, write_json

_MAIN_STAGES = ("decode", "network", "observe", "track", "total")
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
    table.add_row("scale (truth / estimate)", _number(values["scale"], ""))
    table.add_row("path of the truth", _number(values["path_length_m"], "m"))
    if values["kitti_t_err_percent"] is not None:
        table.add_row("KITTI t_err", _number(values["kitti_t_err_percent"], "%"))
    table.add_row("rate", f"{values['fps']:.1f} frames/s")
    for stage, latency in values["latency_ms"].items():
        if "/" not in stage:
            table.add_row(
                f"latency {stage}", f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms"
            )
    if values["stamp_gap_ms"] is not None:
        table.add_row("stamp gap of pairs", f"at most {values['stamp_gap_ms']['largest']:.1f} ms")
    table.add_row("lost intervals", str(len(values["lost_intervals"])))
    console.print(table)
    for note in values["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def write_report(
    folder: Path, summary: Summary, trajectory: Trajectory, picture: Array | None = None
) -> list[Path]:
    """Write summary.json, trajectory.tum, trajectory.png and annotated.png.

    Args:
        folder: Made if absent.
        summary: The numbers.
        trajectory: All poses, every map.
        picture: (H, W, 3) uint8 BGR; None: no annotated.png.

    Returns:
        The paths written.

    Raises:
        OSError: The folder cannot be written to.
    """
    written = [folder / name for name in ("summary.json", "trajectory.tum", "trajectory.png")]
    write_json(written[0], summary.values)
    write_tum(written[1], trajectory)
    plot_trajectory(written[2], summary)
    if picture is not None:
        write_picture(folder / "annotated.png", picture)
        written.append(folder / "annotated.png")
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


def write_picture(path: Path, picture: Array) -> None:
    """Write a BGR image as PNG, atomically.

    Raises:
        OSError: It cannot be written.
    """
    is_encoded, data = cv2.imencode(".png", picture)
    if not is_encoded:
        raise OSError(f"{path}: the picture cannot be encoded")
    with replaced(path) as temporary:
        temporary.write_bytes(data.tobytes())


class PictureTaker:
    """Observes a run and keeps one annotated frame: the tracked one next to a wanted index."""

    def __init__(self, wanted_index: int) -> None:
        self.picture: Array | None = None
        self._wanted_index = wanted_index
        self._distance: int | None = None

    def __call__(
        self,
        frame: Any,
        grey: Array | None,
        observation: Observation | None,
        result: TrackingResult | None,
    ) -> None:
        """Take the picture if this frame is nearer to the wanted one than the last taken."""
        if grey is None or observation is None or result is None:
            return
        is_tracked = result.state is TrackingState.TRACKING and result.matches is not None
        distance = abs(frame.index - self._wanted_index) + (0 if is_tracked else 1_000_000)
        if self._distance is None or distance < self._distance:
            self._distance = distance
            self.picture = draw_result(grey, observation.features, result)


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
