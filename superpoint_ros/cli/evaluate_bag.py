# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run the odometry over recordings in lock-step and compare it with the ground truth.

Every frame is used, nothing is dropped, and no ROS process runs: the same recording gives the same
poses each time. Reads rosbag2 (mcap, sqlite3), ROS 1 bags and image folders (TUM, KITTI, EuRoC, or
images/ with calib.yaml); sensor and topics are detected, each can be given instead.

    superpoint evaluate bag recording.mcap --out out
    superpoint evaluate bag tum_bag --depth-units-per-metre 5000 --json out/tum.json
    superpoint evaluate bag a.mcap b.mcap --features superpoint,rootsift,orb,klt --runs 5
    superpoint evaluate bag recording.mcap --curves drops,exposure
    superpoint evaluate bag rendered.mcap --pieces 20

Of several recordings one that cannot be run is named, the others go on, and the exit code is 1;
of a single one it is 2.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._recording import (
    add_method_arguments,
    add_slop_argument,
    add_source_arguments,
    check_limits,
    check_units,
    is_topic,
    plain_console,
    printable,
    progress_bar,
    read_truth,
    typed_command,
    wanted_topics,
)
from superpoint_ros.cli.main import describe_error, is_user_error
from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from superpoint_ros.evaluation.bag_runs import RunPlan
    from superpoint_ros.evaluation.lockstep import Observer
    from superpoint_ros.evaluation.results import Evaluation, Row
    from superpoint_ros.features.extractor import Extractor, ExtractorConfig
    from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

EXIT_OK, EXIT_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "bags", metavar="BAG", nargs="+", help="bag directory or file, or image folder"
    )
    source = add_source_arguments(parser)
    source.add_argument(
        "--truth-sigma",
        type=float,
        nargs=2,
        metavar=("METRES", "DEGREES"),
        default=(0.0, 0.0),
        help="standard deviation of the ground truth's own error along and about each axis, for "
        "which NEES allows (default: exact)",
    )
    add_slop_argument(source)
    source.add_argument("--every", type=int, default=1, metavar="N", help="use every Nth image")
    source.add_argument("--max-frames", type=int, default=0, metavar="N", help="stop after N")

    method = add_method_arguments(parser)
    method.add_argument(
        "--descriptors",
        choices=("f16", "f32"),
        default="f16",
        help="f16 (default) rounds them as the features message does",
    )

    compare = parser.add_argument_group("what to compare")
    compare.add_argument(
        "--features",
        default="superpoint",
        metavar="NAMES",
        help="comma-separated, in place of SuperPoint's or beside them: superpoint, rootsift, "
        "orb, klt (tracked Shi-Tomasi corners), aliked-n16rot (and its other models, by kornia)",
    )
    compare.add_argument(
        "--curves",
        default="",
        metavar="NAMES",
        help="comma-separated: drops (every 2nd, 3rd, 5th frame, 10 %% lost at random), exposure "
        "(1/16 to 16 times the light, with clipping and noise)",
    )
    compare.add_argument(
        "--pieces",
        type=int,
        default=0,
        metavar="N",
        help="also run N parts of equal length, each a new map: is the covariance as large as the "
        "errors?",
    )
    compare.add_argument(
        "--runs", type=int, default=1, metavar="N", help="N seeds of RANSAC; report the spread"
    )
    compare.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the first seed (default 0)"
    )

    output = parser.add_argument_group("what to write")
    output.add_argument("--json", metavar="FILE", default="", help="the numbers")
    output.add_argument(
        "--out",
        metavar="DIR",
        default="",
        help="report (HTML), numbers, trajectory (TUM and KITTI), map (PLY), plot and a picture; "
        "with several recordings or features a folder of each",
    )
    output.add_argument(
        "--viewer",
        choices=("none", "rerun"),
        default="none",
        help="rerun: show the run with the first kind of features live (pip install rerun-sdk)",
    )
    output.add_argument(
        "--rrd",
        metavar="FILE",
        default="",
        help="write what the viewer would show, for `rerun FILE`; one recording only",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate; 0 also where the odometry did badly: that is a result. 1: a recording failed."""
    from superpoint_ros.evaluation.results import Evaluation, Failure
    from superpoint_ros.files import check_folder, write_json
    from superpoint_ros.network.weights import WeightsError

    plan = _make_plan(args)
    if args.out:
        check_folder(args.out)
    make_configs(args.set, args.sensor or "mono", args.weights, args.max_keypoints)
    network: Extractor | None = None
    rows: list[Row] = []
    failures: list[Failure] = []
    for bag, name in zip(args.bags, _names(args.bags), strict=True):
        try:
            found, network = _evaluate(args, bag, name, plan, network)
            rows += found
        except Exception as error:
            is_of_all = isinstance(error, (ConfigError, WeightsError))
            if len(args.bags) == 1 or is_of_all or not is_user_error(error):
                raise
            failures.append(Failure(printable(bag), describe_error(error)))
            print(f"superpoint: failed: {failures[-1].error}", file=sys.stderr)
    evaluation = Evaluation(tuple(rows), tuple(failures))
    # Written before printed: who reads the table may stop reading.
    if args.json:
        write_json(args.json, evaluation.to_mapping())
    if args.out:
        _write(Path(args.out), evaluation)
    _print(evaluation)
    if args.out:
        print(f"report: {Path(args.out) / 'report.html'}")
    return EXIT_FAILED if failures else EXIT_OK


def _evaluate(
    args: argparse.Namespace, bag: str, name: str, plan: RunPlan, network: Extractor | None
) -> tuple[tuple[Row, ...], Extractor | None]:
    """Run the plan on one recording; return its rows, and the network for the next one."""
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.bag_runs import RunConfig, num_frames, run_recording
    from superpoint_ros.features.extractor import extractor_from_config

    with BagReader(bag, wanted_topics(args), slop_ns=round(args.slop * 1e9)) as reader:
        sensor = args.sensor or reader.sensor.sensor
        extractor_config, odometry_config = make_configs(
            args.set, sensor, args.weights, args.max_keypoints
        )
        extrinsics = odometry_config.stereo.T_left_right
        reader.check_calibration(needs_baseline=sensor == "stereo" and not extrinsics)
        truth, truth_name = read_truth(args.ground_truth, reader)
        sigma_m, sigma_deg = args.truth_sigma
        if truth is not None and (sigma_m or sigma_deg):
            truth = truth.with_noise(sigma_m, math.radians(sigma_deg))
        if network is None and "superpoint" in plan.features:
            network = extractor_from_config(extractor_config)
        config = RunConfig(extractor_config, odometry_config, network)
        with progress_bar(num_frames(reader, plan), name) as advance, _viewer(args, name) as watch:
            rows = run_recording(
                reader,
                plan,
                config,
                name,
                truth,
                truth_name,
                on_frame=advance,
                watch=watch,
            )
    return rows, network


def make_configs(
    assignments: list[str], sensor: str, weights: str = "", max_keypoints: int | None = None
) -> tuple[ExtractorConfig, OdometryConfig]:
    """Return the configs of extractor and odometry.

    Args:
        assignments: "key=value" each; a key that both know needs "extractor." or "odometry."
            before it.
        sensor: Mode of the odometry.
        weights: Path; empty: the shipped ones.
        max_keypoints: None: the default.

    Raises:
        ConfigError: An unknown key, a bad value, or a key that both know.
    """
    import yaml

    from superpoint_ros.config import from_mapping, parse_yaml, settings, unflatten
    from superpoint_ros.features.extractor import ExtractorConfig
    from superpoint_ros.odometry.visual_odometry import OdometryConfig

    names = {
        "extractor": {setting.name for setting in settings(ExtractorConfig)},
        "odometry": {setting.name for setting in settings(OdometryConfig)},
    }
    values: dict[str, dict[str, Any]] = {
        "extractor": {"weights": weights} if weights else {},
        "odometry": {"mode": sensor},
    }
    if max_keypoints is not None:
        values["extractor"]["keypoints.max_keypoints"] = max_keypoints
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: expected KEY=VALUE")
        part, _, rest = key.partition(".")
        owners = [part] if rest in names.get(part, ()) else [n for n in names if key in names[n]]
        key = rest if rest in names.get(part, ()) else key
        if key == "mode":
            raise ConfigError(f"--set {assignment}: is --sensor {text}")
        if not owners:
            known = ", ".join(sorted(names["extractor"] | names["odometry"]))
            raise ConfigError(f"--set {key}: unknown setting; known: {known}")
        if len(owners) > 1:
            raise ConfigError(f"--set {key}: write extractor.{key} or odometry.{key}")
        try:
            values[owners[0]][key] = parse_yaml(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: '{text}' is no value") from None
    return (
        from_mapping(ExtractorConfig, unflatten(values["extractor"])),
        from_mapping(OdometryConfig, unflatten(values["odometry"])),
    )


def _make_plan(args: argparse.Namespace) -> RunPlan:
    from superpoint_ros.evaluation.bag_runs import RunPlan
    from superpoint_ros.evaluation.baselines import check_kinds
    from superpoint_ros.evaluation.conditions import make_curve

    check_limits(args, every=1, runs=1, pieces=0, max_frames=0, seed=0, slop=0.0)
    if not all(0.0 <= sigma < math.inf for sigma in args.truth_sigma):
        raise ConfigError("--truth-sigma: must not be negative")
    check_units(args.depth_units_per_metre)
    truth = args.ground_truth
    if len(args.bags) > 1 and truth not in ("", "none") and not is_topic(truth):
        raise ConfigError(f"--ground-truth {truth}: one file cannot be the truth of several bags")
    if args.rrd and len(args.bags) > 1:
        raise ConfigError(f"--rrd {args.rrd}: holds one recording only")
    features, curves = _split(args.features), _split(args.curves)
    check_kinds(features)
    for curve in curves:
        make_curve(curve)
    return RunPlan(
        features,
        curves,
        tuple(range(args.seed, args.seed + args.runs)),
        args.every,
        args.max_frames,
        args.depth_units_per_metre,
        args.descriptors,
        args.pieces,
        keep_pictures=bool(args.out),
    )


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _names(bags: list[str]) -> list[str]:
    """Return a short name of each recording; two alike are numbered."""
    names: list[str] = []
    for bag in bags:
        stem = printable(Path(bag).resolve().name.removesuffix(".bag").removesuffix(".mcap"))
        name = stem
        count = 1
        while name in names:
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _print(evaluation: Evaluation) -> None:
    from superpoint_ros.evaluation.report import print_summary
    from superpoint_ros.evaluation.tables import (
        print_curves,
        print_pieces,
        print_rows,
        print_spread,
    )

    console = plain_console()
    rows = evaluation.rows
    is_summary = len(rows) == 1 and not evaluation.failures
    if is_summary:
        print_summary(rows[0].recorded.summary, console, title=rows[0].name)
    else:
        print_rows(evaluation, console)
    for row in rows:
        print_spread(row, console)
        print_pieces(row, console)
    print_curves(evaluation, console)
    if not is_summary:  # which has them
        for row in rows:
            for note in row.recorded.summary.values["notes"]:
                console.print(f"note: {row.name}, {row.features}: {note}")


def _write(folder: Path, evaluation: Evaluation) -> None:
    """Write everything into a folder, or into one per row below it."""
    from superpoint_ros.evaluation.html_report import Provenance, write_html
    from superpoint_ros.evaluation.report import write_run
    from superpoint_ros.files import write_json

    rows = evaluation.rows
    write_json(folder / "summary.json", evaluation.to_mapping())
    for row in rows:
        is_only = len(rows) == 1
        place = folder if is_only else folder / f"{row.name}_{row.features}"
        write_run(place, row.recorded)
    write_html(folder / "report.html", evaluation, Provenance.of_now(typed_command()))


@contextmanager
def _viewer(
    args: argparse.Namespace, name: str
) -> Iterator[Callable[[VisualOdometry], Observer] | None]:
    """Give what makes the viewer's observer; None: nothing is to be shown."""
    if not args.rrd and args.viewer == "none":
        yield None
        return
    from superpoint_ros.evaluation.viewer import RerunViewer

    viewers: list[RerunViewer] = []

    def watch(odometry: VisualOdometry) -> Observer:
        viewers.append(RerunViewer(odometry, name, args.rrd))
        return viewers[-1]

    try:
        yield watch
    finally:
        for viewer in viewers:
            viewer.close()
