# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands that read a recording share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.trajectory import Trajectory


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
