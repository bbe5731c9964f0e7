# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find the readout time of a camera's rolling shutter from a recording, without ground truth.

Rows that are read one after the other shear the images of a turning camera; odometry that does not
know the readout time drifts. Record some ten seconds in which the camera turns to and fro about
all its axes, fast but without motion blur; with depth or a stereo pair it takes less than with one
camera.

    superpoint calibrate recording.mcap
    superpoint calibrate tum_bag --depth-units-per-metre 5000 --json readout.json

The odometry runs over the recording up to ten times, until no other readout time would explain
better where its landmarks are seen. Prints the time with its standard deviation and how to set it.
Exit code 1: the recording cannot tell.
"""

from __future__ import annotations

import argparse
import math
from contextlib import closing
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._recording import (
    add_method_arguments,
    add_slop_argument,
    add_source_arguments,
    check_limits,
    check_units,
    progress_bar,
    wanted_topics,
)
from superpoint_ros.cli.evaluate_bag import make_configs
from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from superpoint_ros.evaluation.spool import ObservationSpool
    from superpoint_ros.odometry.readout import ReadoutEstimate
    from superpoint_ros.odometry.visual_odometry import OdometryConfig

EXIT_OK, EXIT_CANNOT_TELL = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", metavar="BAG", help="bag directory or file, or image folder")
    source = add_source_arguments(parser, with_truth=False)
    add_slop_argument(source)
    source.add_argument(
        "--max-frames",
        type=int,
        default=600,
        metavar="N",
        help="use the first N frames (default 600); 0: all; half a megabyte each goes to $TMPDIR",
    )
    add_method_arguments(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write the result to FILE")


def run(args: argparse.Namespace) -> int:
    """Calibrate; 1: the recording cannot tell."""
    from superpoint_ros.evaluation.spool import ObservationSpool
    from superpoint_ros.files import write_json
    from superpoint_ros.odometry.readout import MAX_RUNS, estimate_readout

    check_limits(args, max_frames=0, slop=0.0)
    check_units(args.depth_units_per_metre)
    if args.sensor == "homography":
        raise ConfigError("--sensor homography: planar tracking knows no shutter; mono does")
    with closing(ObservationSpool()) as spool:
        config = _extract(args, spool)
        with progress_bar(MAX_RUNS, "odometry") as advance:
            estimate = estimate_readout(spool, config, on_run=lambda run: advance())
        frames = len(spool)
    _print(estimate)
    if args.json:
        write_json(args.json, _to_mapping(estimate, args.bag, frames))
    return EXIT_CANNOT_TELL if estimate.readout is None else EXIT_OK


def _extract(args: argparse.Namespace, spool: ObservationSpool) -> OdometryConfig:
    """Fill the spool; return the odometry's settings."""
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.lockstep import Lane, LaneGroup, run_lanes
    from superpoint_ros.features.extractor import extractor_from_config

    make_configs(args.set, args.sensor or "mono", args.weights, args.max_keypoints)
    with BagReader(args.bag, wanted_topics(args), slop_ns=round(args.slop * 1e9)) as reader:
        sensor = args.sensor or reader.sensor.sensor
        extractor_config, config = make_configs(args.set, sensor, args.weights, args.max_keypoints)
        reader.check_calibration(
            needs_baseline=sensor == "stereo" and not config.stereo.T_left_right
        )
        extractor = extractor_from_config(extractor_config)
        total = min(args.max_frames or reader.num_images, reader.num_images)
        with progress_bar(total, "features") as advance:
            run_lanes(
                reader.frames(max_frames=args.max_frames),
                [
                    LaneGroup(
                        extractor.extract_batch,
                        [Lane(spool)],
                        depth_config=config.depth,
                        stereo_config=config.stereo,
                    )
                ],
                depth_units_per_metre=args.depth_units_per_metre or reader.depth_units_per_metre,
                on_frame=advance,
            )
    return config


def _print(estimate: ReadoutEstimate) -> None:
    if estimate.readout is None:
        print(f"readout time: cannot tell: {estimate.reason}")
        return
    ms, sigma_ms = 1e3 * estimate.readout, 1e3 * estimate.sigma
    print(f"readout time: {ms:.2f} ms +- {sigma_ms:.2f} (one standard deviation)")
    if estimate.is_global_shutter:
        print("no rolling shutter to be seen: leave rolling_shutter.readout at 0")
        return
    value = f"{estimate.readout:.4f}"
    print(f"superpoint evaluate bag BAG --set rolling_shutter.readout={value}")
    print(f"ROS parameter of the tracker: odometry.rolling_shutter.readout: {value}")


def _to_mapping(estimate: ReadoutEstimate, bag: str, frames: int) -> dict[str, Any]:
    from superpoint_ros import __version__

    is_known = estimate.readout is not None
    return {
        "bag": bag,
        "frames": frames,
        "readout": estimate.readout,
        "sigma": estimate.sigma,
        "is_global_shutter": estimate.is_global_shutter if is_known else None,
        "reason": estimate.reason,
        "runs": [
            {
                "readout": run.readout,
                "excess": run.excess,
                "sigma": run.sigma,
                "frames": run.num_frames,
                "flow_deg": math.degrees(run.flow),
            }
            for run in estimate.runs
        ],
        "version": __version__,
    }
