# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: one HTML file with tables, plots and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import superpoint_ros
from superpoint_ros.evaluation import page
from superpoint_ros.evaluation.html_recording import (
    UNKNOWN,
    features_name,
    format_number,
    kitti_error,
    recording_section,
    total_latency,
)
from superpoint_ros.evaluation.page import Markup, element
from superpoint_ros.evaluation.results import Evaluation, Row
from superpoint_ros.files import write_text
from superpoint_ros.machine import describe_machine, find_commit


@dataclass(frozen=True)
class Provenance:
    """How a report came about.

    Attributes:
        command: As it was typed.
        hardware: In words.
        commit: Of the source checkout; empty if there is none.
        date: When, with its time zone.
    """

    command: str
    hardware: str
    commit: str
    date: datetime

    @classmethod
    def of_now(cls, command: str) -> Provenance:
        """Return that of a report written now, here, by this source."""
        return cls(command, describe_machine(), find_commit(), datetime.now().astimezone())


def write_html(path: Path | str, evaluation: Evaluation, provenance: Provenance) -> None:
    """Write the report.

    Raises:
        OSError: It cannot be written.
    """
    write_text(path, render_html(evaluation, provenance))


def render_html(evaluation: Evaluation, provenance: Provenance) -> str:
    """Return the report; recordings and features come in the order of the rows."""
    rows = evaluation.rows
    names = list(dict.fromkeys(row.name for row in rows))
    title = "Visual odometry: " + (", ".join(names) or "nothing could be run")
    sections = {
        f"recording-{i}": (name, [row for row in rows if row.name == name])
        for i, name in enumerate(names)
    }
    links = {"results": "Results", **{anchor: name for anchor, (name, _) in sections.items()}}
    links["provenance"] = "How it was made"
    subtitle = " · ".join(
        [
            f"superpoint_ros {superpoint_ros.__version__}",
            provenance.hardware,
            f"{provenance.date:%Y-%m-%d %H:%M %Z}",
        ]
    )
    items = [
        element("li", element("a", name, href=f"#{anchor}")) for anchor, name in links.items()
    ]
    return page.render_page(
        title,
        element(
            "header",
            element("h1", title),
            element("p", subtitle, class_="subtitle"),
            element("nav", element("ul", *items), aria_label="Parts of this page"),
        ),
        element(
            "main",
            _results_section(evaluation),
            *(recording_section(anchor, part) for anchor, (_, part) in sections.items()),
            _provenance_section(evaluation, provenance),
        ),
    )


def _results_section(evaluation: Evaluation) -> Markup:
    """Build the table of all rows; columns without a value are left out."""
    rows = evaluation.rows
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "frames": lambda v: str(v["frames"]),
        "with\na pose": lambda v: f"{100.0 * v['coverage']:.1f} %",
        "times\nlost": lambda v: str(len(v["lost_intervals"])),
        "ATE RMSE\nm": lambda v: format_number(v["ate_rmse_m"]),
        "RPE\nmm per frame": lambda v: format_number(v["rpe_trans_m"], 1e3),
        "RPE\n° per frame": lambda v: format_number(v["rpe_rot_deg"]),
        "drift\n%": lambda v: format_number(kitti_error(v, "t_err_percent")),
        "drift\n° per 100 m": lambda v: format_number(kitti_error(v, "r_err_deg_per_100m")),
        "NEES\nmean": lambda v: format_number(v["nees"]),
        "rate\nframes/s": lambda v: format_number(v["fps"]),
        "p50, p95\nms a frame": _latencies,
    }
    cells = {
        name: [value(row.recorded.summary.values) for row in rows]
        for name, value in columns.items()
    }
    shown = [name for name, values in cells.items() if set(values) - {UNKNOWN}]
    table = page.table(
        _explain_errors(rows),
        ("recording", "features", *shown),
        [
            [row.name, features_name(row), *(cells[name][i] for name in shown)]
            for i, row in enumerate(rows)
        ],
    )
    failures = [
        element("li", f"{failure.bag}: {failure.error}") for failure in evaluation.failures
    ]
    return element(
        "section",
        element("h2", "Results", id="results"),
        table if rows else "",
        element("ul", *failures, class_="notes") if failures else "",
        aria_labelledby="results",
    )


def _latencies(values: Mapping[str, Any]) -> str:
    p50, p95 = (total_latency(values, name) for name in ("p50", "p95"))
    return UNKNOWN if p50 is None else f"{format_number(p50)}, {format_number(p95)}"


def _explain_errors(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.recorded.summary.errors is not None]
    ways = sorted({row.recorded.summary.values["alignment"].upper() for row in judged})
    if not judged:
        return "There is no ground truth, so errors are not known."
    return f"Errors against the ground truth after {' or '.join(ways)} alignment, by evo."


def _provenance_section(evaluation: Evaluation, provenance: Provenance) -> Markup:
    entries = {
        "date": f"{provenance.date:%Y-%m-%d %H:%M:%S %Z}",
        "hardware": provenance.hardware,
        "superpoint_ros": superpoint_ros.__version__,
        "commit": provenance.commit or UNKNOWN,
    }
    settings: dict[str, str] = {}
    for row in evaluation.rows:
        values, features = row.recorded.summary.values, features_name(row)
        entries[f"recording {row.name}"] = row.bag
        entries[f"ground truth of {row.name}"] = values["ground_truth"] or "none"
        if values["weights_sha256"]:
            model, checksum = values["model_id"], values["weights_sha256"]
            entries[f"weights of {features}"] = f"{model}, sha256 {checksum}"
        settings[f"Settings: {row.name}, {features}"] = yaml.safe_dump(
            dict(row.config), sort_keys=False, default_flow_style=None, width=100
        )
    return element(
        "section",
        element("h2", "How it was made", id="provenance"),
        element("pre", provenance.command),
        element(
            "div",
            page.table("Where the figures come from.", (), [[*item] for item in entries.items()]),
            class_="words",
        ),
        *(page.details(title, element("pre", text)) for title, text in settings.items()),
        aria_labelledby="provenance",
    )
