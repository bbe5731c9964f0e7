# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run the odometry over a recording in lock-step and compare it with the ground truth.

Every frame is used, nothing is dropped, and no ROS process runs: the same recording gives the same
poses each time. Reads rosbag2 (mcap, sqlite3), ROS 1 bags and image folders (TUM, KITTI, EuRoC, or
images/ with calib.yaml); sensor and topics are detected, each can be given instead.

    superpoint evaluate bag recording.mcap --out out
    superpoint evaluate bag tum_bag --depth-units-per-metre 5000 --json out/tum.json
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._recording import (
    add_source_arguments,
    check_units,
    read_truth,
    wanted_topics,
)
from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.lockstep import LockstepRun, Observer
    from superpoint_ros.evaluation.summary import Summary
    from superpoint_ros.evaluation.trajectory import Trajectory
    from superpoint_ros.features.extractor import Extractor, ExtractorConfig
    from superpoint_ros.odometry.visual_odometry import OdometryConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", metavar="BAG", help="bag directory or file, or image folder")
    source = add_source_arguments(parser)
    source.add_argument(
        "--slop",
        type=float,
        default=0.02,
        metavar="S",
        help="largest gap between the stamps of image and depth, seconds (default 0.02)",
    )
    source.add_argument("--every", type=int, default=1, metavar="N", help="use every Nth image")
    source.add_argument("--max-frames", type=int, default=0, metavar="N", help="stop after N")

    method = parser.add_argument_group("how to run")
    method.add_argument("--weights", default="", metavar="FILE", help="default: the shipped ones")
    method.add_argument("--max-keypoints", type=int, default=None, metavar="N")
    method.add_argument(
        "--descriptors",
        choices=("f16", "f32"),
        default="f16",
        help="f16 (default) rounds them as the features message does",
    )
    method.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the extractor or the odometry, such as keypoints.nms_radius=3; "
        "may be repeated",
    )
    method.add_argument(
        "--runs", type=int, default=1, metavar="N", help="repeat, and report the spread"
    )

    output = parser.add_argument_group("what to write")
    output.add_argument("--json", metavar="FILE", default="", help="the numbers")
    output.add_argument(
        "--out", metavar="DIR", default="", help="numbers, trajectory (TUM), plot and a picture"
    )
    output.add_argument("--kitti", metavar="FILE", default="", help="trajectory in KITTI's format")


def run(args: argparse.Namespace) -> int:
    """Evaluate and return 0, also where the odometry did badly: that is a result."""
    from rich.console import Console

    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.report import PictureTaker, print_summary, write_report
    from superpoint_ros.evaluation.trajectory import write_kitti
    from superpoint_ros.files import check_folder, write_json

    _check_counts(args)
    if args.out:
        check_folder(args.out)
    with BagReader(args.bag, wanted_topics(args), slop_ns=round(args.slop * 1e9)) as reader:
        sensor = args.sensor or reader.sensor.sensor
        extractor_config, odometry_config = make_configs(
            args.set, sensor, args.weights, args.max_keypoints
        )
        extrinsics = odometry_config.stereo.T_left_right
        reader.check_calibration(needs_baseline=sensor == "stereo" and not extrinsics)
        truth, truth_name = read_truth(args.ground_truth, reader)
        extractor = _load_extractor(extractor_config)
        summaries, poses = [], []
        for index in range(args.runs):
            count = _num_frames(reader, args)
            taker = PictureTaker((count * args.every) // 2)
            with _progress(count, f"run {index + 1} of {args.runs}") as advance:
                lockstep = _run_once(
                    args, reader, extractor, odometry_config, _both(taker, advance)
                )
            summaries.append(_judge(lockstep, sensor, extractor, truth, truth_name, reader))
            poses.append(lockstep.trajectory())
    summary, trajectory = summaries[0], poses[0]
    summary.values["bag"] = str(args.bag)
    summary.values["config"] = _configs_mapping(extractor_config, odometry_config)
    if args.runs > 1:
        summary.values["runs"] = _spread(summaries, poses)
    console = Console(soft_wrap=True)
    print_summary(summary, console, title=Path(args.bag).name)
    _print_spread(summary, console)
    if args.json:
        write_json(args.json, summary.values)
    if args.kitti:
        write_kitti(args.kitti, trajectory)
    if args.out:
        for path in write_report(Path(args.out), summary, trajectory, taker.picture):
            console.print(f"wrote {path}", markup=False, highlight=False)
    return 0


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

    from superpoint_ros.config import from_mapping, settings, unflatten
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
        if not owners:
            known = ", ".join(sorted(names["extractor"] | names["odometry"]))
            raise ConfigError(f"--set {key}: unknown setting; known: {known}")
        if len(owners) > 1:
            raise ConfigError(f"--set {key}: write extractor.{key} or odometry.{key}")
        try:
            values[owners[0]][key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: '{text}' is no value") from None
    return (
        from_mapping(ExtractorConfig, unflatten(values["extractor"])),
        from_mapping(OdometryConfig, unflatten(values["odometry"])),
    )


def _check_counts(args: argparse.Namespace) -> None:
    for name, least in (("every", 1), ("runs", 1), ("max_frames", 0), ("slop", 0.0)):
        if not least <= getattr(args, name) < math.inf:  # NaN neither
            raise ConfigError(f"--{name.replace('_', '-')}: must be at least {least}")
    check_units(args.depth_units_per_metre)


def _load_extractor(config: ExtractorConfig) -> Extractor:
    from superpoint_ros.features.extractor import extractor_from_config

    return extractor_from_config(config)


def _num_frames(reader: BagReader, args: argparse.Namespace) -> int:
    count: int = -(-reader.num_images // args.every)
    return min(count, int(args.max_frames)) if args.max_frames else count


def _run_once(
    args: argparse.Namespace,
    reader: BagReader,
    extractor: Extractor,
    odometry_config: OdometryConfig,
    observer: Observer,
) -> LockstepRun:
    from superpoint_ros.evaluation.lockstep import run_odometry
    from superpoint_ros.odometry.visual_odometry import VisualOdometry

    return run_odometry(
        reader.frames(every=args.every, max_frames=args.max_frames),
        extractor,
        VisualOdometry(odometry_config),
        depth_units_per_metre=args.depth_units_per_metre or reader.depth_units_per_metre,
        descriptor_type=args.descriptors,
        depth_config=odometry_config.depth,
        stereo_config=odometry_config.stereo,
        extract_batch=extractor.extract_batch,
        observer=observer,
    )


def _judge(
    lockstep: LockstepRun,
    sensor: str,
    extractor: Extractor,
    truth: Trajectory | None,
    truth_name: str,
    reader: BagReader,
) -> Summary:
    from superpoint_ros.evaluation.summary import RunRecord, summarize

    tracked = [
        stamp
        for stamp, is_tracked in zip(lockstep.stamps_ns, lockstep.is_tracked, strict=True)
        if is_tracked
    ]
    record = RunRecord(
        sensor=sensor,
        stamps_ns=lockstep.stamps_ns,
        trajectory=lockstep.trajectory(),
        wall_s=lockstep.wall_s,
        latency_ms=lockstep.latency_ms,
        skipped={lockstep.stamps_ns[i]: reason for i, reason in lockstep.skipped.items()},
        gaps_ns=lockstep.gaps_ns,
        model_id=extractor.model_id,
        weights_sha256=extractor.weights_sha256,
        tracked_stamps_ns=tracked,
    )
    summary = summarize(record, truth, truth_name)
    candidates = reader.ground_truth_candidates()
    if truth is None and candidates:
        summary.values["notes"].append(
            f"--ground-truth TOPIC would compare with one of: {', '.join(candidates)}"
        )
    return summary


def _configs_mapping(extractor: ExtractorConfig, odometry: OdometryConfig) -> dict[str, Any]:
    from superpoint_ros.config import to_mapping

    return {"extractor": to_mapping(extractor), "odometry": to_mapping(odometry)}


def _spread(summaries: list[Summary], poses: list[Trajectory]) -> dict[str, Any]:
    import numpy as np

    return {
        "count": len(summaries),
        "identical": all(
            np.array_equal(poses[0].stamps_ns, other.stamps_ns)
            and np.array_equal(poses[0].poses, other.poses)
            for other in poses[1:]
        ),
        "ate_rmse_m": [summary.values["ate_rmse_m"] for summary in summaries],
        "coverage": [summary.values["coverage"] for summary in summaries],
        "fps": [summary.values["fps"] for summary in summaries],
    }


def _print_spread(summary: Summary, console: Console) -> None:
    runs = summary.values.get("runs")
    if runs:
        same = "the same poses, bit by bit" if runs["identical"] else "different poses"
        ates = ", ".join("unknown" if ate is None else f"{ate:.4g}" for ate in runs["ate_rmse_m"])
        console.print(f"{runs['count']} runs gave {same}; ATE [m]: {ates}", markup=False)


@contextmanager
def _progress(total: int, text: str) -> Iterator[Observer]:
    """Give an observer that moves a progress bar; on a pipe nothing is shown."""
    if not sys.stderr.isatty():
        yield lambda frame, grey, observation, result: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda frame, grey, observation, result: progress.advance(task)


def _both(first: Observer, second: Observer) -> Observer:
    def observe(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return observe
