# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure matching against known amounts of rotation, zoom, tilt, blur and light.

Takes the photos of the training's validation split, grey levels noisy; the second view is changed
by one thing at a time.

    superpoint evaluate robustness PHOTOS
    superpoint evaluate robustness PHOTOS --changes zoom,blur --weights new.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.cli._extractor import (
    add_measured_weights,
    choose_baselines,
    describe_extractor,
    load_baselines,
    load_measured,
)

if TYPE_CHECKING:
    from superpoint_ros.features import Extractor
    from superpoint_ros.features.peers import PeerExtractor

_METRICS = {"mma3": "MMA@3", "repeatability": "repeatability"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="DIR", help="folder of photos")
    parser.add_argument(
        "--changes",
        metavar="NAMES",
        default="rotation,zoom,tilt,blur,light",
        help="comma-separated (default: %(default)s)",
    )
    parser.add_argument("--count", type=int, default=30, help="photos per amount (default: 30)")
    add_measured_weights(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")


def run(args: argparse.Namespace) -> int:
    """Print a table per change: MMA and repeatability at 3 pixels by amount, a row per method."""
    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import write_json
    from superpoint_ros.training.changes import CHANGES, make_changed_pairs
    from superpoint_ros.training.validation import VALIDATION_PROTOCOL, measure

    changes = [name.strip() for name in args.changes.split(",") if name.strip()]
    unknown = sorted(set(changes) - set(CHANGES))
    if unknown or not changes:
        raise ConfigError(f"--changes {args.changes}: known: {', '.join(CHANGES)}")
    if args.count < 1:
        raise ConfigError(f"--count {args.count}: must be at least 1")
    limit = VALIDATION_PROTOCOL.max_keypoints
    methods: dict[str, Extractor | PeerExtractor] = dict(
        load_baselines(choose_baselines("all"), limit)
    )
    methods |= load_measured(args.weights, args.scales, max_keypoints=limit)
    report: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for change in changes:
        amounts = CHANGES[change].amounts
        report[change] = {name: {} for name in methods}
        for amount in amounts:
            pairs = make_changed_pairs(Path(args.images), args.count, change, amount)
            if not pairs:
                raise ConfigError(f"{args.images}: holds no photo of the validation split")
            for name, extract in methods.items():
                report[change][name][f"{amount:g}"] = measure(extract, pairs)
        for key, title in _METRICS.items():
            print(f"{title}, {change}, {CHANGES[change].unit}")
            print(" " * 24 + "".join(f"{amount:>7.3g}" for amount in amounts))
            for name, rows in report[change].items():
                print(f"{name:<24}" + "".join(f"{row[key]:>7.3f}" for row in rows.values()))
        print(flush=True)
    if args.json:
        extractors = {name: describe_extractor(extract) for name, extract in methods.items()}
        header = {"protocol": VALIDATION_PROTOCOL.name, "images": args.images, "count": args.count}
        write_json(args.json, {**header, "extractors": extractors, "changes": report})
    return 0
