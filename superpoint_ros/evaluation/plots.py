# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a run as SVG for `page`, in its colours; matplotlib draws them.

Colours become CSS variables, so that a plot follows the reader's light or dark scheme. Plots over
time and of the path carry their numbers along (`data-axes`), with which the page's script shows
one moment in all of them.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.page import COLOURS, Markup, element

SERIES = tuple(name for name in COLOURS if name.startswith("series"))
_DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^v"
_SIZE_INCH = (4.9, 2.7)
_MAX_POINTS = 1500  # of a line: what a plot can show, and what a page should hold
_MAX_SPANS = 350  # of what is shaded along the time axis: a plot is as many points wide
_HEX = {pair[0]: name for name, pair in COLOURS.items()}


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        name: For the legend.
        times_s: (N,) ascending, seconds since the first frame.
        values: (N,) over time, or (N, 2) places; NaN breaks the line.
        series: Colour and dash, counted from 0; negative: the truth, wide and grey.
    """

    name: str
    times_s: Array
    values: Array
    series: int = 0

    @property
    def colour(self) -> str:
        """Name of the colour."""
        return "truth" if self.series < 0 else SERIES[self.series % len(SERIES)]


@dataclass(frozen=True)
class Curve:
    """A figure of merit over the conditions of the run.

    Attributes:
        name: For the legend.
        values: (C,) one for each condition; NaN where there is none.
        low: (C,) least of the repeated runs.
        high: (C,) largest of them.
        series: Colour, dash and marker, counted from 0.
    """

    name: str
    values: Array
    low: Array
    high: Array
    series: int = 0


def plot_over_time(
    lines: Sequence[Line],
    label: str,
    unit: str,
    description: str,
    *,
    lost_s: Sequence[tuple[float, float]] = (),
    levels: Mapping[str, float] | None = None,
    from_zero: bool = False,
    is_logarithmic: bool = False,
) -> Markup:
    """Plot values over time.

    Args:
        lines: All over the same time.
        label: Of the vertical axis, without unit.
        unit: Of the values; may be empty.
        description: For those who do not see it.
        lost_s: Start and end of what is shaded.
        levels: Name -> value of horizontal lines.
        from_zero: Let the axis begin at zero.
        is_logarithmic: Whether the axis is.
    """
    figure, axes = _axes(_SIZE_INCH)
    lines = _thinned(lines)
    for start, end in _merged(lost_s):
        axes.axvspan(
            start, end, facecolor=_colour("lost"), alpha=0.22, edgecolor="none", zorder=0.5
        )
    if lost_s:  # in the legend once; a span of its own so that an empty one shows nothing
        axes.fill_between([], [], [], color=_colour("lost"), alpha=0.3, linewidth=0, label="lost")
    is_dashed = _needs_dashes(lines)
    for line in lines:
        axes.plot(line.times_s, line.values, label=line.name, **_style(line, is_dashed))
    for name, value in (levels or {}).items():
        axes.axhline(value, color=_colour("ink"), linestyle=(0, (4, 2)), linewidth=0.9, label=name)
    if is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    if from_zero:
        axes.set_ylim(bottom=0.0)
    axes.margins(x=0.0)
    axes.set_xlabel("time [s]")
    axes.set_ylabel(_with_unit(label, unit))
    _legend(figure, len(lines) > 1 or bool(levels) or bool(lost_s))
    return _svg(figure, axes, description, "time", unit, lines)


def plot_path(
    lines: Sequence[Line], labels: tuple[str, str], unit: str, description: str
) -> Markup:
    """Plot paths, both axes to the same scale.

    Args:
        lines: With places (N, 2).
        labels: Of both axes, without unit.
        unit: Of both axes.
        description: For those who do not see it.
    """
    figure, axes = _axes((5.4, 4.4))
    lines = _thinned(lines)
    is_dashed = _needs_dashes(lines)
    for line in lines:
        style = _style(line, is_dashed)
        axes.plot(line.values[:, 0], line.values[:, 1], label=line.name, **style)
        known = line.values[np.isfinite(line.values).all(axis=1)]
        if len(known) and line.series >= 0:
            axes.plot(*known[0], "o", color=_colour(line.colour), markersize=6, zorder=4)
    axes.plot([], [], "o", color=_colour("muted"), markersize=6, label="start")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(_with_unit(labels[0], unit))
    axes.set_ylabel(_with_unit(labels[1], unit))
    _legend(figure, True)
    return _svg(figure, axes, description, "path", unit, lines)


def plot_latency(latency_ms: Mapping[str, Mapping[str, float]], description: str) -> Markup:
    """Plot p50, p95 and p99 of each stage as a bar from the first to the last."""
    stages = list(latency_ms)
    figure, axes = _axes((5.4, 0.9 + 0.32 * len(stages)))
    rows = np.arange(len(stages))[::-1]
    values = np.array([[latency_ms[s][f"p{q}"] for q in (50, 95, 99)] for s in stages])
    axes.hlines(rows, values[:, 0], values[:, 2], color=_colour("grid"), linewidth=6, zorder=2)
    for column, (name, marker) in enumerate((("p50", "o"), ("p95", "D"), ("p99", "|"))):
        axes.plot(
            values[:, column],
            rows,
            marker,
            color=_colour(SERIES[column]),
            markersize=(7, 6, 12)[column],
            markeredgewidth=(1, 1, 2.5)[column],
            label=name,
            zorder=3,
        )
    axes.set_yticks(rows, stages)
    axes.set_ylim(-0.7, len(stages) - 0.3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("time for a frame [ms], logarithmic")
    axes.grid(visible=False, axis="y")
    _legend(figure, True)
    return _svg(figure, axes, description)


def plot_curves(
    curves: Sequence[Curve],
    conditions: Sequence[str],
    label: str,
    unit: str,
    description: str,
    *,
    axis: str,
    is_logarithmic: bool = False,
) -> Markup:
    """Plot a figure of merit over named conditions, with the spread of repeated runs.

    Args:
        curves: One for each kind of features.
        conditions: Names along the horizontal axis.
        label: Of the vertical axis, without unit.
        unit: Of the values.
        description: For those who do not see it.
        axis: What the conditions are.
        is_logarithmic: Whether the vertical axis is.
    """
    figure, axes = _axes(_SIZE_INCH)
    places = np.arange(len(conditions), dtype=float)
    for i, curve in enumerate(curves):
        colour = _colour(SERIES[curve.series % len(SERIES)])
        shifted = places + 0.05 * (i - (len(curves) - 1) / 2)  # so that equal ones show
        axes.vlines(shifted, curve.low, curve.high, color=colour, linewidth=1.2)
        axes.plot(
            shifted,
            curve.values,
            color=colour,
            linestyle=_DASHES[curve.series % len(_DASHES)],
            marker=_MARKERS[curve.series % len(_MARKERS)],
            markersize=5,
            linewidth=1.5,
            label=curve.name,
        )
    axes.set_xticks(places, conditions)
    if is_logarithmic:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0.0, top=104.0 if unit == "%" else None)
    axes.set_xlabel(axis)
    axes.set_ylabel(_with_unit(label, unit))
    _legend(figure, True)
    return _svg(figure, axes, description)


def _axes(size_inch: tuple[float, float]) -> tuple[Any, Any]:
    # Not pyplot: no global state, no backend to choose, nothing left open.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inch, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    ink, muted = _colour("ink"), _colour("muted")
    axes.tick_params(which="both", colors=muted, labelsize=9, length=3)
    axes.xaxis.label.set_color(ink)
    axes.yaxis.label.set_color(ink)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_colour("muted"))
    axes.grid(color=_colour("grid"), linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _needs_dashes(lines: Sequence[Line]) -> bool:
    """Whether there are so many lines that colours alone may not tell them apart."""
    return sum(line.series >= 0 for line in lines) > 1


def _style(line: Line, is_dashed: bool) -> dict[str, Any]:
    colour = _colour(line.colour)
    if line.series < 0:
        return {"color": colour, "linewidth": 4.0, "alpha": 0.55, "solid_capstyle": "round"}
    return {
        "color": colour,
        "linewidth": 1.5,
        "linestyle": _DASHES[line.series % len(_DASHES)] if is_dashed else "-",
    }


def _colour(name: str) -> str:
    return COLOURS[name][0]


def _with_unit(label: str, unit: str) -> str:
    return f"{label} [{unit}]" if unit else label


def _legend(figure: Any, is_wanted: bool) -> None:
    if is_wanted:
        figure.legend(
            loc="outside upper left",
            ncols=4,
            frameon=False,
            fontsize=9,
            labelcolor=_colour("ink"),
            borderpad=0,
            handlelength=2.4,
            columnspacing=1.4,
        )


def _svg(
    figure: Any,
    axes: Any,
    description: str,
    kind: str = "",
    unit: str = "",
    lines: Sequence[Line] = (),
) -> Markup:
    """Return the figure as an svg element, with the numbers that the page's script reads."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # The salt makes the names of clip paths unique in the page and the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    view_box = re.search(r'viewBox="([^"]*)"', text)
    assert view_box is not None  # matplotlib always writes one
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Names of groups would be there again in the next plot; nothing refers to them.
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"#[0-9a-f]{6}\b", _as_variable, body)
    attributes: dict[str, str] = {"role": "img", "viewBox": view_box.group(1)}
    if kind:
        attributes["data_axes"] = json.dumps(
            _numbers(figure, axes, kind, unit, lines), separators=(",", ":")
        )
    return element("svg", element("title", description), Markup(body), **attributes)


def _as_variable(match: re.Match[str]) -> str:
    name = _HEX.get(match.group())
    return match.group() if name is None else f"var(--{name})"


def _numbers(
    figure: Any, axes: Any, kind: str, unit: str, lines: Sequence[Line]
) -> dict[str, Any]:
    """Return where the axes are in the svg, what they span, and the lines in them."""
    width, height = figure.get_size_inches() * 72.0  # points, as in the viewBox
    place = axes.get_position()
    box = [place.x0 * width, (1.0 - place.y1) * height, place.width * width, place.height * height]
    return {
        "kind": kind,
        "unit": unit,
        "box": _rounded(box),
        "isLogarithmic": axes.get_yscale() == "log",
        "x": _rounded(axes.get_xlim()),
        "y": _rounded(axes.get_ylim()),
        "lines": [
            {"name": line.name, "colour": line.colour, "t": _rounded(line.times_s, 7)}
            | (
                {"y": _rounded(line.values)}
                if line.values.ndim == 1
                else {"x": _rounded(line.values[:, 0]), "y": _rounded(line.values[:, 1])}
            )
            for line in lines
        ],
    }


def _rounded(values: Any, digits: int = 5) -> list[float | None]:
    """Return numbers of so many digits that JSON can hold; null for what is not finite."""
    return [
        float(f"{value:.{digits}g}") if np.isfinite(value) else None
        for value in np.asarray(values, np.float64).tolist()
    ]


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans, in order of time, as one where less than a point of the plot parts them."""
    if not spans:
        return []
    width = (spans[-1][1] - spans[0][0]) / _MAX_SPANS
    merged = [spans[0]]
    for start, end in spans[1:]:
        if start - merged[-1][1] <= width:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _thinned(lines: Sequence[Line]) -> list[Line]:
    """Return lines of bounded length."""
    return [_thin(line) if len(line.times_s) > _MAX_POINTS else line for line in lines]


def _thin(line: Line) -> Line:
    kept = _kept(line.values)
    return dataclasses.replace(line, times_s=line.times_s[kept], values=line.values[kept])


def _kept(values: Array) -> Array:
    """Return the indices that stay: of each bin the least and the largest value and a hole."""
    n = len(values)
    if values.ndim == 2:
        return np.unique(np.linspace(0, max(n - 1, 0), _MAX_POINTS).astype(int))
    edges = np.linspace(0, n, _MAX_POINTS // 3 + 1).astype(int)
    kept = []
    for start, end in itertools.pairwise(edges[edges <= n].tolist()):
        part = values[start:end]
        known = np.flatnonzero(np.isfinite(part))
        holes = np.flatnonzero(~np.isfinite(part))[:1]
        ends = known[[part[known].argmin(), part[known].argmax()]] if len(known) else known
        kept.append(start + np.concatenate([ends, holes]))
    return np.unique(np.concatenate(kept))
