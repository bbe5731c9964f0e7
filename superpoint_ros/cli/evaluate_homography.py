# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure features on image pairs with known homographies, beside RootSIFT and ORB.

DIR holds one folder per set: images 1.* to N.* and text files H_1_k (3x3, pixels of 1 to k).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from superpoint_ros.cli._extractor import add_measured_weights, load_measured
from superpoint_ros.config import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="DIR", help="sets of images with H_1_k files")
    parser.add_argument("--protocol", default="l640", help="l640 or native (default: l640)")
    add_measured_weights(parser)
    parser.add_argument(
        "--baselines",
        default="rootsift,orb",
        help="comma-separated: rootsift, orb, akaze (where OpenCV has it); empty for none",
    )
    parser.add_argument("--threshold", type=float, default=-1.0, help="detection threshold")
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")


def run(args: argparse.Namespace) -> int:
    """Measure every method on every pair; print one row per method."""
    from superpoint_ros.evaluation.homography import (
        PROTOCOLS,
        evaluate_pair,
        resize_pair,
        summarise,
    )
    from superpoint_ros.evaluation.hpatches import read_pairs
    from superpoint_ros.files import write_json

    if args.protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol {args.protocol}: known: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[args.protocol]
    pairs = [resize_pair(pair, protocol.longer_side_px) for pair in read_pairs(args.folder)]
    report: dict[str, Any] = {"protocol": protocol.name, "folder": args.folder, "methods": {}}
    print(
        f"{'':<24} he@1  he@3  he@5  repeat.  loc.px  m.score  MMA@3  NN mAP   "
        f"({len(pairs)} pairs, {protocol.name})"
    )
    for name, (extract, provenance) in _methods(args, protocol.max_keypoints).items():
        results = []
        for index, pair in enumerate(pairs):
            if sys.stderr.isatty():
                print(f"\r{name}: {index + 1}/{len(pairs)}", end="", file=sys.stderr)
            results.append(evaluate_pair(pair, extract, protocol))
        if sys.stderr.isatty():
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
        row = summarise(results)
        report["methods"][name] = {
            **row,
            **provenance,
            "per_pair": [dataclasses.asdict(result) for result in results],
        }
        print(
            f"{name:<24} {row['he1']:.3f} {row['he3']:.3f} {row['he5']:.3f} "
            f"{row['repeatability']:>7.3f} {row['localization_px']:>7.2f} "
            f"{row['matching_score']:>8.3f} {row['mma3']:>6.3f} {row['nn_map']:>7.3f}"
        )
    if args.json:
        write_json(args.json, report)
    return 0


def _methods(
    args: argparse.Namespace, max_keypoints: int
) -> dict[str, tuple[Callable[..., Any], dict[str, str]]]:
    from superpoint_ros.evaluation.homography import BASELINES
    from superpoint_ros.features.keypoints import KeypointConfig

    threshold = args.threshold if args.threshold >= 0 else KeypointConfig.detection_threshold
    methods: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {}
    extractors = load_measured(
        args.weights, max_keypoints=max_keypoints, detection_threshold=threshold
    )
    for name, extractor in extractors.items():
        methods[name] = (extractor, {"weights_sha256": extractor.weights_sha256})
    for name in filter(None, args.baselines.split(",")):
        if name not in BASELINES:
            raise ConfigError(f"--baselines {name}: known: {', '.join(BASELINES)}")
        methods[name] = (BASELINES[name](max_keypoints), {})
    return methods
