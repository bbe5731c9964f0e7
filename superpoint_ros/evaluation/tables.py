# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as tables on a terminal: rows, spread over seeds, pieces, curves."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from superpoint_ros.evaluation.results import BagResult, Evaluation, Row, spread

_CURVE_TITLES = {
    "drops": "frames left out: coverage, ATE in m",
    "exposure": "other exposure: coverage, ATE in m",
}


def print_rows(evaluation: Evaluation, console: Console) -> None:
    """Print one line per recording and kind of features, and the failures."""
    table = Table()
    table.add_column("recording")
    table.add_column("features")
    for title in (
        *("tracked", "ATE m", "RPE m", "RPE deg", "t_err %", "r_err deg/100 m"),
        *("lost", "maps", "frames/s", "p95 ms"),
    ):
        table.add_column(title, justify="right")
    for row in evaluation.rows:
        values = row.recorded.summary.values
        total = values["latency_ms"].get("total", {})
        table.add_row(
            row.name,
            row.features,
            f"{100 * values['coverage']:.1f} %",
            *(_number(values[key]) for key in ("ate_rmse_m", "rpe_trans_m", "rpe_rot_deg")),
            _number(values["kitti_t_err_percent"]),
            _number(values["kitti_r_err_deg_per_100m"]),
            str(len(values["lost_intervals"])),
            str(len(values["maps"])),
            f"{values['fps']:.1f}",
            f"{total['p95']:.0f}" if total else "-",
        )
    for failure in evaluation.failures:
        table.add_row(failure.bag, "failed")
    console.print(table)


def print_spread(row: Row, console: Console) -> None:
    """Print how far the runs with other seeds lie apart, if there are any."""
    if not row.repeats:
        return
    values = spread((row.recorded, *row.repeats))
    ate = values["ate_rmse_m"]
    text = "ATE unknown"
    if ate["mean"] is not None:
        text = f"ATE {ate['mean']:.4g} m, {ate['min']:.4g} to {ate['max']:.4g}"
        text += f", standard deviation {ate['std']:.2g}"
    coverage = values["coverage"]
    console.print(
        f"{row.name}, {row.features}, {values['count']} seeds: {text}; coverage "
        f"{100 * coverage['min']:.1f} to {100 * coverage['max']:.1f} %",
        markup=False,
        highlight=False,
    )


def print_pieces(row: Row, console: Console) -> None:
    """Print the NEES of the pieces, if there are any."""
    if not row.pieces:
        return
    values = row.to_mapping()["pieces"]
    table = Table(title=f"{row.name}, {row.features}: pieces, a map each")
    for title in ("piece", "tracked", "NEES, mean of its poses", "NEES of its last pose"):
        table.add_column(title, justify="right" if table.columns else "left")
    columns = (values["nees"]["values"], values["nees_at_end"]["values"])
    for name, tracked, *nees in zip(values["names"], values["tracked"], *columns, strict=True):
        table.add_row(name, str(tracked), *map(_number, nees))
    for name in ("mean", "median"):
        table.add_row(name, "", *(_number(values[key][name]) for key in ("nees", "nees_at_end")))
    console.print(table)
    if values["count"]:
        low, high = values["bounds"]
        console.print(
            f"{values['right']} is right; the mean of {values['count']} lies between {low:.1f} "
            f"and {high:.1f} in 95 of 100 cases",
            markup=False,
            highlight=False,
        )


def print_curves(evaluation: Evaluation, console: Console) -> None:
    """Print one table per recording and curve, one line per kind of features."""
    for name in dict.fromkeys(row.name for row in evaluation.rows):
        rows = [row for row in evaluation.rows if row.name == name]
        for kind in rows[0].curves:
            table = Table(title=f"{name}, {_CURVE_TITLES[kind]}")
            table.add_column("features")
            for point in (rows[0].recorded, *rows[0].curves[kind]):
                table.add_column(point.condition.name, justify="right")
            for row in rows:
                points = (row.recorded, *row.curves[kind])
                table.add_row(row.features, *(_point(point) for point in points))
            console.print(table)


def _point(result: BagResult) -> str:
    values = result.summary.values
    return f"{100 * values['coverage']:.1f} %  {_number(values['ate_rmse_m'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
