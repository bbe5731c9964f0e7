# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands that read a recording share."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_weights
from superpoint_ros.config import ConfigError
from superpoint_ros.graph import SENSORS

if TYPE_CHECKING:
    from rich.console import Console

    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.sensors import SensorTopics
    from superpoint_ros.evaluation.trajectory import Trajectory


_PIPE_COLUMNS = 160
_TOPICS = {
    "image": ("TOPIC", "image; of stereo the left"),
    "camera_info": ("TOPIC|FILE", "calibration, or a YAML file of it"),
    "depth": ("TOPIC", "registered depth image"),
    "right": ("TOPIC", "right image"),
    "right_camera_info": ("TOPIC|FILE", "calibration of the right image, or a YAML file of it"),
}


def add_source_arguments(parser: argparse.ArgumentParser, with_truth: bool = True) -> Any:
    """Declare what settles sensor and topics; return the group, for more of the kind."""
    group = parser.add_argument_group("what to read (default: detected)")
    group.add_argument("--sensor", choices=SENSORS, default="", help="kind of odometry")
    for name, (metavar, text) in _TOPICS.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, metavar=metavar, default="", help=text)
    if with_truth:
        group.add_argument(
            "--ground-truth",
            metavar="TOPIC|FILE",
            default="",
            help="poses of the camera; a file is in TUM format; 'none': do not compare",
        )
    group.add_argument(
        "--depth-units-per-metre",
        type=float,
        default=0.0,
        metavar="X",
        help="unit of 16-bit depth; default: 5000 in TUM folders, else 1000 (millimetres); TUM "
        "bags need 5000",
    )
    return group


def add_slop_argument(source: Any) -> None:
    """Declare --slop in the group of `add_source_arguments`."""
    source.add_argument(
        "--slop",
        type=float,
        default=0.02,
        metavar="S",
        help="largest gap between the stamps of image and depth (or right image), seconds "
        "(default: 0.02)",
    )


def add_method_arguments(parser: argparse.ArgumentParser) -> Any:
    """Declare weights and settings of a run; return the group, for more of the kind."""
    method = parser.add_argument_group("how to run")
    add_weights(method)
    method.add_argument(
        "--max-keypoints",
        type=int,
        default=None,
        metavar="N",
        help="best so many of an image are kept; 0: no limit (default: 1000)",
    )
    method.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the extractor or the odometry, such as keypoints.nms_radius=3; "
        "may be repeated",
    )
    return method


def wanted_topics(args: argparse.Namespace) -> SensorTopics:
    """Return what the arguments of `add_source_arguments` settle."""
    from superpoint_ros.evaluation.sensors import SensorTopics

    truth = getattr(args, "ground_truth", "")
    return SensorTopics(
        sensor="mono" if args.sensor == "homography" else args.sensor,
        ground_truth=truth if is_topic(truth) else "",
        **{name: getattr(args, name) for name in _TOPICS},
    )


def check_limits(args: argparse.Namespace, **least: float) -> None:
    """Check that numbers are finite and not below the least that each may be.

    Raises:
        ConfigError: One is; it is named as an option.
    """
    for name, limit in least.items():
        if not limit <= getattr(args, name) < math.inf:  # NaN neither
            raise ConfigError(f"--{name.replace('_', '-')}: must be at least {limit}")


def check_units(depth_units_per_metre: float) -> None:
    """Check `--depth-units-per-metre`; 0 stands for what the recording says.

    Raises:
        ConfigError: Negative, infinite or no number.
    """
    if not 0.0 <= depth_units_per_metre < math.inf:
        raise ConfigError("--depth-units-per-metre: must be positive")


def is_topic(option: str) -> bool:
    """Whether it is a topic's name: those start as absolute paths do, but are no file."""
    return option.startswith("/") and not Path(option).is_file()


def read_truth(option: str, reader: BagReader) -> tuple[Trajectory | None, str]:
    """Return what `--ground-truth` asks for and its name; None: there is none.

    Args:
        option: "none", a topic, a file in TUM format, or empty: the topic that was detected.
        reader: Made with the topic, if it is one.
    """
    from superpoint_ros.evaluation.trajectory import read_tum

    if option == "none":
        return None, ""
    if option and not is_topic(option):
        return read_tum(option), option
    return reader.ground_truth(), reader.sensor.ground_truth


def plain_console() -> Console:
    """Return a console that prints names as they are: none is markup, none an emoji.

    In a pipe nothing is folded to the 80 columns of no terminal.
    """
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for main, as everything that prints

    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    return Plain(soft_wrap=True, markup=False, emoji=False, width=width)


def printable(name: str) -> str:
    """Return a file's name with bytes that are no UTF-8 as `\\udce9`: nobody can write them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def typed_command() -> str:
    """Return the command that runs, as a shell takes it."""
    return shlex.join(["superpoint", *sys.argv[1:]])


@contextmanager
def progress_bar(total: int, text: str) -> Iterator[Callable[[], None]]:
    """Give what moves a progress bar by one frame; on a pipe nothing is shown."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
