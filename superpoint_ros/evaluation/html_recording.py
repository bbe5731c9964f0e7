# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the report about one recording: figures, plots and pictures of its runs.

All kinds of features are compared: on the recording as it is frame by frame, where frames were
left out or darkened by their figures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation import page, plots
from superpoint_ros.evaluation.moments import choose_moments
from superpoint_ros.evaluation.motion import Motion, motion_of
from superpoint_ros.evaluation.page import Markup, element, join
from superpoint_ros.evaluation.plots import Curve, Line
from superpoint_ros.evaluation.results import BagResult, Row
from superpoint_ros.evaluation.summary import Summary

UNKNOWN = "\N{EN DASH}"
_FEATURES = {
    "superpoint": "SuperPoint",
    "rootsift": "RootSIFT",
    "orb": "ORB",
    "klt": "KLT",
}
_TRACKS_EXPLAINED = (
    "Dots are keypoints. A line leads from where a landmark was in the reference keyframe to "
    "where it is: green if it agrees with the pose, red if not. A click on a picture shows its "
    "moment in the plots."
)
# Degrees of freedom -> percentiles of chi squared.
_NEES_LIMITS = {5: {"5 %": 1.145, "95 %": 11.07}, 6: {"5 %": 1.635, "95 %": 12.59}}
_MAX_ROWS = 100  # of a table of what went wrong
_MIN_DRIFT_M = 5.0  # longest part of a path of which drift in percent is shown
# Kind of curve -> heading, horizontal axis, value of the recording as it is.
_CURVES = {
    "drops": ("Frames left out", "frames used", 0.0),
    "exposure": ("Exposure", "brightness of the images", 1.0),
}
# Key of the summary, label, unit, factor, whether the axis is logarithmic.
_CURVE_FIGURES = (
    ("coverage", "frames with a pose", "%", 100.0, False),
    ("ate_rmse_m", "ATE RMSE", "m", 1.0, True),
    ("rpe_trans_m", "RPE", "mm per frame", 1e3, True),
)


@dataclass(frozen=True)
class _Shown:
    """A run that is shown frame by frame."""

    name: str  # of its features
    result: BagResult
    motion: Motion

    def line(self, values: Array, series: int) -> Line:
        return Line(self.name, self.motion.times_s, values, series)


def recording_section(anchor: str, rows: Sequence[Row]) -> Markup:
    """Build the section of one recording.

    Args:
        anchor: For links to it.
        rows: Of this recording, the one that matters most first.
    """
    shown = [
        _Shown(
            features_name(row),
            row.recorded,
            motion_of(row.recorded.summary, np.array(row.recorded.run.stamps_ns, np.int64)),
        )
        for row in rows
    ]
    main = rows[0].recorded
    values = main.summary.values
    notes = [element("li", note) for note in values["notes"]]
    return element(
        "section",
        element("h2", rows[0].name, id=anchor),
        element("p", f"Sensor: {values['sensor']}. The figures of {shown[0].name}:"),
        _cards(values),
        element("ul", *notes, class_="notes") if notes else "",
        _path_part(rows[0].name, shown),
        _time_part(rows[0].name, shown),
        _picture_part(rows[0]),
        *(_curve_part(kind, rows) for kind in _CURVES),
        _latency_part(rows[0].name, shown[0]),
        _interval_part(values),
        aria_labelledby=anchor,
    )


def features_name(row: Row) -> str:
    """Return the name of a row's features as people write it."""
    return _FEATURES.get(row.features, row.features)


def total_latency(values: Mapping[str, Any], percentile: str) -> float | None:
    """Return the time for a whole frame, milliseconds; None if it was not measured."""
    total = values["latency_ms"].get("total")
    return None if total is None else float(total[percentile])


def kitti_error(values: Mapping[str, Any], key: str) -> float | None:
    """Return an error as KITTI has it; None where the path is too short for it to mean much."""
    lengths = values["kitti_lengths_m"]
    return values[f"kitti_{key}"] if lengths and lengths[-1] >= _MIN_DRIFT_M else None


def format_number(value: float | None, factor: float = 1.0) -> str:
    """Return three significant digits, without an exponent where people would write none."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    scaled = value * factor
    size = abs(scaled)
    if size >= 100.0:
        return f"{scaled:.0f}"
    return f"{scaled:.3g}" if size >= 1e-4 or size == 0.0 else f"{scaled:.2e}"


def _cards(values: Mapping[str, Any]) -> Markup:
    """Show the figures that people ask for first."""
    times = len(values["lost_intervals"])
    lost = {0: "never lost", 1: "lost once", 2: "lost twice"}.get(times, f"lost {times} times")
    coverage = f"{100.0 * values['coverage']:.1f} %"
    entries = [
        ("Frames with a pose", coverage, f"{values['tracked']} of {values['frames']}, {lost}")
    ]
    if values["ate_rmse_m"] is not None:
        length = f"path of {format_number(values['path_length_m'])} m"
        entries += [
            (
                "ATE, RMSE",
                f"{format_number(values['ate_rmse_m'])} m",
                f"{values['alignment'].upper()} alignment, {length}",
            ),
            (
                "RPE, RMSE",
                f"{format_number(values['rpe_trans_m'], 1e3)} mm",
                f"and {format_number(values['rpe_rot_deg'])}° per frame",
            ),
        ]
    drift_percent = kitti_error(values, "t_err_percent")
    if drift_percent is not None:
        lengths = [format_number(length) for length in values["kitti_lengths_m"]]
        entries.append(
            (
                "Drift, as KITTI has it",
                f"{format_number(drift_percent)} %",
                f"and {format_number(values['kitti_r_err_deg_per_100m'])}° per 100 m, "
                f"over {lengths[0]} to {lengths[-1]} m",
            )
        )
    if values["nees"] is not None:
        right = f"{_degrees_of_freedom(values)} if the covariance is right"
        entries.append(("NEES, mean", format_number(values["nees"]), right))
    latency = total_latency(values, "p50")
    entries.append(
        (
            "Rate",
            f"{format_number(values['fps'])} frames/s",
            "" if latency is None else f"half of the frames within {format_number(latency)} ms",
        )
    )
    cards = [
        element("div", element("dt", name), element("dd", value, element("small", remark)))
        for name, value, remark in entries
    ]
    return element("dl", *cards, class_="cards")


def _path_part(recording: str, shown: Sequence[_Shown]) -> Markup:
    main, summary = shown[0].motion, shown[0].result.summary
    lines = [one.line(one.motion.positions, i) for i, one in enumerate(shown)]
    remark = "Without ground truth the world is the frame of the first camera. "
    if main.true_positions is not None:
        lines = [Line("ground truth", main.times_s, main.true_positions, -1), *lines]
        way = summary.values["alignment"].upper()
        remark = f"The estimate is laid over the ground truth by {way} alignment. "
    up = ("" if main.up_sign > 0 else "-") + "xyz"[main.up]
    remark += f"Up is {up}, judged by how the camera was held."
    # Two axes of the ground, in the order in which the plan is seen from above, not mirrored.
    across, ahead = [(1, 2), (2, 0), (0, 1)][main.up][:: main.up_sign]
    spans = [np.ptp(v[np.isfinite(v)]) if np.isfinite(v).any() else 0.0 for v in lines[0].values.T]
    along = max(across, ahead, key=lambda axis: spans[axis])

    def plot(view: str, i: int, j: int, sign: int, labels: tuple[str, str]) -> Markup:
        flat = [
            dataclasses.replace(line, values=line.values[:, [i, j]] * [1, sign]) for line in lines
        ]
        names = " and ".join(line.name for line in lines)
        description = f"{recording}: path of the camera, {names}, seen {view}."
        svg = plots.plot_path(flat, labels, _unit(summary), description)
        return page.figure(svg, f"Seen {view}; both axes to the same scale.")

    above = plot("from above", across, ahead, 1, ("xyz"[across], "xyz"[ahead]))
    side = plot("from the side", along, main.up, main.up_sign, ("xyz"[along], up))
    return join(
        [
            element("h3", "Path of the camera"),
            element("p", remark),
            element("div", above, side, class_="grid"),
        ]
    )


def _time_part(recording: str, shown: Sequence[_Shown]) -> Markup:
    main, result = shown[0].motion, shown[0].result
    times_s, values = main.times_s, result.summary.values
    half_s = float(np.median(np.diff(times_s))) / 2.0 if len(times_s) > 1 else 0.0
    lost_s = [
        (interval["start_s"] - half_s, interval["end_s"] + half_s)
        for interval in values["lost_intervals"]
    ]

    def plot(lines: Sequence[Line], label: str, unit: str, caption: str, **options: Any) -> Markup:
        description = f"{recording}: {label} over time."
        svg = plots.plot_over_time(lines, label, unit, description, lost_s=lost_s, **options)
        return page.figure(svg, caption)

    def lines_of(values_of: Callable[[Motion], Array | None]) -> list[Line]:
        pairs = [(one, values_of(one.motion)) for one in shown]
        return [one.line(v, i) for i, (one, v) in enumerate(pairs) if v is not None]

    def compared(
        values_of: Callable[[Motion], Array], truth: Array | None, axis: int
    ) -> list[Line]:
        lines = lines_of(lambda motion: values_of(motion)[:, axis])
        if truth is None:
            return lines
        return [Line("ground truth", times_s, truth[:, axis], -1), *lines]

    large = []
    if main.position_errors_m is not None:
        whose = f" of {shown[0].name}" if len(shown) > 1 else ""
        large = [
            plot(
                lines_of(lambda motion: motion.position_errors_m),
                "position error",
                "m",
                f"Distance from the ground truth after alignment; dashed: the ATE{whose}.",
                levels={"RMSE": float(values["ate_rmse_m"])},
                from_zero=True,
            ),
            plot(
                lines_of(lambda motion: motion.rotation_errors_deg),
                "rotation error",
                "°",
                "Angle between the rotation since the first pose and the true one.",
                from_zero=True,
            ),
        ]
    if main.nees is not None:
        freedom = _degrees_of_freedom(values)
        large.append(
            plot(
                lines_of(lambda motion: motion.nees),
                "NEES of the pose",
                "",
                "Squared error of the pose since the first one, in units of the covariance that "
                f"the odometry gave: {freedom} on average and nine frames in ten between the "
                "dashed lines, if that is right; higher: the odometry is too sure of itself.",
                levels=_NEES_LIMITS[freedom],
                is_logarithmic=True,
            )
        )
    counts = [
        ("keypoints", "Keypoints found in each frame", "num_keypoints"),
        ("inliers", "Keypoints that agree with the pose of the frame", "num_inliers"),
        ("landmarks", "Points in the local map", "num_landmarks"),
    ]
    numbers = [
        plot(
            [one.line(np.array(getattr(one.result.run, key)), i) for i, one in enumerate(shown)],
            name,
            "",
            f"{explanation}.",
            from_zero=True,
        )
        for name, explanation, key in counts
        if any(getattr(one.result.run, key) for one in shown)
    ]
    places = [
        plot(
            compared(lambda motion: motion.positions, main.true_positions, axis),
            letter,
            _unit(result.summary),
            f"Position along {letter}.",
        )
        for axis, letter in enumerate("xyz")
    ]
    angles = [
        plot(
            compared(lambda motion: motion.angles_deg, main.true_angles_deg, axis),
            name,
            "°",
            f"Rotation about {about} since the first pose.",
        )
        for axis, (name, about) in enumerate(
            (
                ("yaw", "the image's y axis"),
                ("pitch", "the image's x axis"),
                ("roll", "the optical axis"),
            )
        )
    ]
    whose = f" of {shown[0].name}" if len(shown) > 1 else ""
    return join(
        [
            element("h3", "Over time"),
            element("p", f"Shaded: frames{whose} without a pose.") if lost_s else "",
            element("div", *large, class_="grid") if large else "",
            element("div", *numbers, *places, *angles, class_="grid thirds"),
        ]
    )


def _picture_part(row: Row) -> Markup:
    result = row.recorded
    moments = result.pictures
    if not any(moment.title for moment in moments):  # else somebody has chosen already
        moments = tuple(choose_moments(moments, result.summary.errors))
    pictures = []
    for moment in moments:
        seconds = (moment.stamp_ns - result.run.stamps_ns[0]) * 1e-9
        title = moment.title[:1].upper() + moment.title[1:]
        caption = (
            f"{title}: {seconds:.2f} s, {moment.state.name}, "
            f"{moment.num_keypoints} keypoints, {moment.num_inliers} inliers."
        )
        alt = f"Frame of {row.name} with its keypoints and tracks. {caption}"
        picture = page.jpeg(moment.jpeg, alt, moment.size_wh)
        pictures.append(page.figure(picture, caption, data_time=round(seconds, 3)))
    if not pictures:
        return Markup()
    return join(
        [
            element("h3", f"Pictures, {features_name(row)}"),
            element("p", _TRACKS_EXPLAINED),
            element("div", *pictures, class_="grid pictures"),
        ]
    )


def _curve_part(kind: str, rows: Sequence[Row]) -> Markup:
    heading, axis, recorded_value = _CURVES[kind]
    curves = {features_name(row): _points(row, kind, recorded_value) for row in rows}
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return Markup()
    names = {
        value: points[value][0].condition.name for points in curves.values() for value in points
    }
    conditions = sorted(names)
    figures = []
    for key, label, unit, factor, is_logarithmic in _CURVE_FIGURES:
        drawn = [
            _curve(name, [points.get(value, []) for value in conditions], key, factor, i)
            for i, (name, points) in enumerate(curves.items())
        ]
        if not any(np.isfinite(curve.values).any() for curve in drawn):
            continue
        svg = plots.plot_curves(
            drawn,
            [names[value] for value in conditions],
            label,
            unit,
            f"{rows[0].name}: {label} over {axis}, for {', '.join(curves)}.",
            axis=axis,
            is_logarithmic=is_logarithmic,
        )
        figures.append(page.figure(svg, f"{label[:1].upper()}{label[1:]} over {axis}."))
    header = ["", *(names[value] for value in conditions)]
    cells = [
        [name, *(_curve_cell(points.get(value, [])) for value in conditions)]
        for name, points in curves.items()
    ]
    caption = "Frames with a pose, and ATE RMSE in metres."
    return join(
        [
            element("h3", heading),
            element("div", *figures, class_="grid thirds"),
            page.table(caption, header, cells),
        ]
    )


def _points(row: Row, kind: str, recorded_value: float) -> dict[float, list[BagResult]]:
    """Return value of the condition -> runs; empty if there is no such curve."""
    curve = row.curves.get(kind, ())
    if not curve:
        return {}
    points = {result.condition.value: [result] for result in curve}
    return {recorded_value: [row.recorded, *row.repeats], **points}


def _curve(
    name: str, runs: Sequence[Sequence[BagResult]], key: str, factor: float, series: int
) -> Curve:
    """Return median, least and largest of a figure under each condition."""
    spread = np.full((3, len(runs)), np.nan)
    for column, results in enumerate(runs):
        values = [result.summary.values[key] for result in results]
        known = [factor * value for value in values if value is not None]
        if known:
            spread[:, column] = np.median(known), min(known), max(known)
    return Curve(name, spread[0], spread[1], spread[2], series)


def _curve_cell(results: Sequence[BagResult]) -> str:
    if not results:
        return UNKNOWN
    values = results[0].summary.values
    return f"{100.0 * values['coverage']:.1f} %, {format_number(values['ate_rmse_m'])}"


def _latency_part(recording: str, shown: _Shown) -> Markup:
    latency_ms = shown.result.summary.values["latency_ms"]
    if not latency_ms:
        return Markup()
    # The whole first, then its stages, each with its own parts behind it.
    names = list(latency_ms)

    def place(name: str) -> tuple[bool, int, int]:
        stage = name.partition("/")[0]
        return name != "total", names.index(stage if stage in names else name), names.index(name)

    stages = {name: latency_ms[name] for name in sorted(names, key=place)}
    svg = plots.plot_latency(stages, f"{recording}: time of each stage, p50, p95 and p99.")
    caption = "Half of the frames take less than p50, one in a hundred takes more than p99."
    if any("/" in name for name in names):
        caption += " What has a stroke in its name is a part of the stage before it."
    rows = [
        [name, *(format_number(times[p]) for p in ("p50", "p95", "p99"))]
        for name, times in stages.items()
    ]
    table = page.table("Milliseconds for a frame.", ("stage", "p50", "p95", "p99"), rows)
    return join(
        [
            element("h3", f"Time of each stage, {shown.name}"),
            element("div", page.figure(svg, caption), table, class_="grid"),
        ]
    )


def _interval_part(values: Mapping[str, Any]) -> Markup:
    parts = []
    if values["lost_intervals"]:
        rows = [
            [str(i), f"{lost['start_s']:.2f}", f"{lost['end_s']:.2f}", str(lost["frames"])]
            for i, lost in enumerate(values["lost_intervals"], 1)
        ]
        header: tuple[str, ...] = ("", "first frame [s]", "last frame [s]", "frames")
        parts.append(_listing("Frames without a pose", header, rows))
    if len(values["maps"]) > 1:
        rows = [
            [
                str(part["map_id"]),
                f"{part['start_s']:.2f}",
                f"{part['end_s']:.2f}",
                str(part["frames"]),
                format_number(part["ate_rmse_m"]),
            ]
            for part in values["maps"]
        ]
        header = ("map", "first frame [s]", "last frame [s]", "frames", "ATE RMSE [m]")
        parts.append(_listing("Fresh starts of the map", header, rows))
    if values["skipped"]:
        rows = [[f"{frame['stamp_s']:.3f}", frame["reason"]] for frame in values["skipped"]]
        title = f"Frames that could not be used: {len(rows)}"
        parts.append(_listing(title, ("stamp [s]", "reason"), rows))
    return join(parts)


def _listing(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Build a table that opens on a click; of a long one the beginning, and how much is left."""
    num_left = len(rows) - _MAX_ROWS
    rest = element("p", f"{num_left} more are in summary.json.") if num_left > 0 else ""
    return page.details(title, page.table("", header, rows[:_MAX_ROWS]), rest)


def _degrees_of_freedom(values: Mapping[str, Any]) -> int:
    """Return those of a pose: the scale of a mono map is left free."""
    return 5 if values["alignment"] == "sim3" else 6


def _unit(summary: Summary) -> str:
    is_metric = summary.errors is not None or summary.values["sensor"] != "mono"
    return "m" if is_metric else "units of the map"
