# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure features on image pairs with known homographies, beside SIFT, ORB, AKAZE and corners.

    superpoint evaluate homography hpatches/ --protocol paper-hpatches --json report.json
    superpoint evaluate homography hpatches/ --pairs pairs.csv --pictures out/

DIR holds one folder per set, as HPatches does: images 1.* to N.* and text files H_1_k (3x3, pixels
of 1 to k). Below each row stands half the width of its 95 % interval (bootstrap over sets).
docs/evaluation.md defines the protocols and every metric; "-" is what a method does not have.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import (
    add_baselines,
    add_measured_weights,
    choose_baselines,
    load_measured,
    name_scales,
)
from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from superpoint_ros.data import Array, Features
    from superpoint_ros.evaluation.homography import Extract, MakeExtract, PairResult
    from superpoint_ros.evaluation.protocol import Setting
    from superpoint_ros.features import Extractor

# Metric -> heading and digits.
_COLUMNS = {
    "he1": ("he@1", 3),
    "he3": ("he@3", 3),
    "he5": ("he@5", 3),
    "repeatability": ("repeat.", 3),
    "localization_px": ("loc.px", 2),
    "matching_score": ("m.score", 3),
    "mma3": ("MMA@3", 3),
    "nn_map": ("NN mAP", 3),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="DIR", help="sets of images with H_1_k files")
    parser.add_argument(
        "--protocol",
        default="l640",
        help="l640, l640-ransac20, l640-nms3, native, paper-hpatches, paper-hpatches-nms8 or "
        "rpautrat-hpatches (default: l640)",
    )
    add_measured_weights(parser)
    add_baselines(parser, with_detectors=True)
    parser.add_argument(
        "--threshold", type=float, default=-1.0, help="detection threshold (default: protocol's)"
    )
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")
    parser.add_argument(
        "--pairs", metavar="FILE", default="", help="write one CSV row per method and pair"
    )
    parser.add_argument(
        "--pictures", metavar="DIR", default="", help="draw the best and the worst pairs"
    )


def run(args: argparse.Namespace) -> int:
    """Measure every method on every pair; print one row per method."""
    from superpoint_ros.evaluation.homography import evaluate_sets
    from superpoint_ros.evaluation.hpatches import list_sets
    from superpoint_ros.evaluation.protocol import PROTOCOLS
    from superpoint_ros.files import check_file, check_folder, write_json

    if args.protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol {args.protocol}: known: {', '.join(PROTOCOLS)}")
    if args.pairs:
        check_file(args.pairs)
    if args.pictures:
        check_folder(args.pictures)
    protocol = PROTOCOLS[args.protocol]
    sets = list_sets(args.folder)
    methods = _methods(args)

    def show_progress(done: int, name: str) -> None:
        if sys.stderr.isatty():
            print(f"\rset {done + 1} of {len(sets)}: {name:<20}", end="", file=sys.stderr)

    makers = {name: make for name, (make, _) in methods.items()}
    results, matches = evaluate_sets(sets, makers, protocol, show_progress)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    num_pairs = sum(len(image_set.homographies) for image_set in sets)
    headings = [heading for heading, _ in _COLUMNS.values()]
    title = f"{num_pairs} pairs of {len(sets)} sets, {protocol.name}"
    _print_row("", headings, f"   ({title})")
    report: dict[str, Any] = {
        "protocol": protocol.name,
        "protocol_settings": dataclasses.asdict(protocol),
        "folder": args.folder,
        "methods": {
            name: _report(name, of_method) | methods[name][1]
            for name, of_method in results.items()
        },
    }
    if args.json:
        write_json(args.json, report)
    if args.pairs:
        _write_pairs(args.pairs, protocol.name, results)
    if args.pictures:
        from superpoint_ros.evaluation.pictures import write_index, write_pictures

        pictures = {
            name: write_pictures(args.pictures, name, sets, protocol, results[name], matches[name])
            for name in results
        }
        rows = [[name, *_format(of_method)] for name, of_method in report["methods"].items()]
        index = Path(args.pictures) / "index.html"
        write_index(index, f"Features on {title}", ["", *headings], rows, pictures)
        print(f"pictures in {index}")
    return 0


def _report(name: str, results: list[PairResult]) -> dict[str, Any]:
    """Print the rows of one method and return its part of the report."""
    from superpoint_ros.evaluation.homography import confidence_intervals, summarise
    from superpoint_ros.evaluation.hpatches import group_of

    summary = summarise(results)
    intervals = confidence_intervals(results)
    _print_row(name, _format(summary))
    halves = {key: (high - low) / 2 for key, (low, high) in intervals.items()}
    _print_row("", _format(halves, sign="±"))
    report: dict[str, Any] = {**summary, "interval_95": intervals}
    for group in ("illumination", "viewpoint"):
        of_group = [result for result in results if group_of(result.pair) == group]
        if of_group:
            report[group] = summarise(of_group)
            _print_row(f"  {group}", _format(report[group]))
    report["per_pair"] = [dataclasses.asdict(result) for result in results]
    return report


def _format(values: Mapping[str, float], sign: str = "") -> list[str]:
    """Return the cells of a row."""
    cells = []
    for key, (_, digits) in _COLUMNS.items():
        value = values.get(key, float("nan"))
        cells.append("-" if math.isnan(value) else f"{sign}{value:.{digits}f}")
    return cells


def _print_row(name: str, cells: Sequence[str], remark: str = "") -> None:
    print(f"{name:<22} " + " ".join(f"{cell:>7}" for cell in cells) + remark)


def _write_pairs(path: str, protocol: str, results: dict[str, list[PairResult]]) -> None:
    import csv

    from superpoint_ros.evaluation.homography import PairResult
    from superpoint_ros.files import replaced

    fields = [field.name for field in dataclasses.fields(PairResult)]
    with (
        replaced(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, ["protocol", "method", *fields])
        writer.writeheader()
        for name, of_method in results.items():
            for result in of_method:
                row = dataclasses.asdict(result)
                writer.writerow({"protocol": protocol, "method": name, **row})


def _methods(args: argparse.Namespace) -> dict[str, tuple[MakeExtract, dict[str, str]]]:
    """Return name -> what makes an extractor for a setting, and what to say of it in JSON."""
    from superpoint_ros.features.peaks import suppress_close
    from superpoint_ros.features.peers import CLASSICAL_DETECTORS, make_peer

    methods: dict[str, tuple[MakeExtract, dict[str, str]]] = {}
    for name, extractor in load_measured(args.weights, args.scales).items():

        def make_ours(setting: Setting, extractor: Extractor = extractor) -> Extract:
            return _configure(extractor, setting, args.threshold)

        scales = name_scales(extractor.config.scales)
        said = {"weights_sha256": extractor.weights_sha256, "scales": scales}
        methods[name] = (make_ours, said)
    for name in choose_baselines(args.baselines, with_detectors=True):

        def make(setting: Setting, name: str = name) -> Extract:
            limit = max(setting.max_keypoints, setting.candidates)
            if not setting.is_nms_for_all or name in CLASSICAL_DETECTORS:
                return make_peer(name, limit, setting.nms_radius)
            extract = make_peer(name, 1500)

            def extract_thinned(image: Array) -> Features:
                features = extract(image)
                kept = suppress_close(features.keypoints, features.scores, setting.nms_radius)
                return features.take(kept[:limit])

            return extract_thinned

        methods[name] = (make, {})
    return methods


def _configure(extractor: Extractor, setting: Setting, threshold: float) -> Extract:
    """Return the same network with the keypoints of a setting."""
    from superpoint_ros.features import Extractor

    keypoints = dataclasses.replace(
        extractor.config.keypoints,
        max_keypoints=max(setting.max_keypoints, setting.candidates),
        nms_radius=setting.nms_radius,
        detection_threshold=threshold if threshold >= 0 else setting.detection_threshold,
    )
    config = dataclasses.replace(extractor.config, keypoints=keypoints)
    return Extractor(extractor.engine, extractor.card, config)
