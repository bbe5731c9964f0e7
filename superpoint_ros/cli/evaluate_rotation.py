# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure matching against in-plane rotation, on photos turned by 0 to 90 degrees.

Takes the photos of the training's validation split, turned about their middle, grey levels noisy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.cli._extractor import add_measured_weights, load_measured

if TYPE_CHECKING:
    from superpoint_ros.data import Array, Features

_ANGLES_DEG = (0, 15, 30, 45, 60, 75, 90)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="DIR", help="folder of photos")
    parser.add_argument("--count", type=int, default=50, help="photos per angle (default: 50)")
    add_measured_weights(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")


def run(args: argparse.Namespace) -> int:
    """Print MMA at 3 pixels by angle, one row per method."""
    from superpoint_ros.features.classical import CLASSICAL_DESCRIBED, is_available, make_classical
    from superpoint_ros.files import write_json
    from superpoint_ros.training.validation import (
        VALIDATION_PROTOCOL,
        make_rotated_pairs,
        measure,
    )

    limit = VALIDATION_PROTOCOL.max_keypoints
    methods: dict[str, Callable[[Array], Features]] = {
        name: make_classical(name, limit) for name in CLASSICAL_DESCRIBED if is_available(name)
    }
    methods |= load_measured(args.weights, max_keypoints=limit)
    pairs = {
        angle: make_rotated_pairs(Path(args.images), args.count, angle) for angle in _ANGLES_DEG
    }
    print(f"{'MMA@3 at degrees':<24}" + "".join(f"{angle:>7}" for angle in _ANGLES_DEG))
    report = {}
    for name, extract in methods.items():
        rows = {angle: measure(extract, pairs[angle]) for angle in _ANGLES_DEG}
        report[name] = rows
        print(f"{name:<24}" + "".join(f"{rows[angle]['mma3']:>7.3f}" for angle in _ANGLES_DEG))
    if args.json:
        write_json(args.json, report)
    return 0
