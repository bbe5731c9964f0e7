# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure features on warped photos of the validation split: what weights are chosen by.

    superpoint evaluate warped PHOTOS
    superpoint evaluate warped PHOTOS --weights a.safetensors --weights b.safetensors

PHOTOS is what the training was given; it keeps one in twenty apart. Three sets of noisy pairs,
240x320, the 300 best keypoints: strongly different views; the mean over six hard changes (zooms of
2 and 2.5, a tilt of 60 degrees, a quarter of the light, blurs of 2 and 3 pixels); views as of a
moving camera (median distance from the truth of the right matches, median corner error).
`superpoint evaluate robustness` shows single changes; docs/evaluation.md defines the metrics.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from superpoint_ros.cli._extractor import (
    add_baselines,
    add_measured_weights,
    choose_baselines,
    describe_extractor,
    load_baselines,
    load_measured,
)

if TYPE_CHECKING:
    from superpoint_ros.evaluation.hpatches import HomographyPair
    from superpoint_ros.features import Extractor
    from superpoint_ros.features.peers import PeerExtractor

_HARD = (("zoom", 2), ("zoom", 2.5), ("tilt", 60), ("light", 1 / 4), ("blur", 2), ("blur", 3))
# Set, metric -> heading and digits.
_COLUMNS = {
    ("warped", "he1"): ("he@1", 3),
    ("warped", "he3"): ("he@3", 3),
    ("warped", "he5"): ("he@5", 3),
    ("warped", "repeatability"): ("repeat.", 3),
    ("warped", "localization_px"): ("loc.px", 2),
    ("warped", "matching_score"): ("m.score", 3),
    ("warped", "mma3"): ("MMA@3", 3),
    ("warped", "nn_map"): ("NN mAP", 3),
    ("hard", "mma3"): ("hard: MMA@3", 3),
    ("hard", "repeatability"): ("repeat.", 3),
    ("near", "match_error_px"): ("near: px", 3),
    ("near", "corner_error_median_px"): ("corners px", 3),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="DIR", help="folder of photos")
    parser.add_argument(
        "--count",
        type=int,
        default=200,
        help="warped pairs; half as many near ones, and of every hard change three in twenty "
        "(default: 200)",
    )
    add_measured_weights(parser)
    add_baselines(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")


def run(args: argparse.Namespace) -> int:
    """Print a row per method."""
    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import write_json
    from superpoint_ros.training.validation import VALIDATION_PROTOCOL, measure

    if args.count < 1:
        raise ConfigError(f"--count {args.count}: must be at least 1")
    limit = VALIDATION_PROTOCOL.max_keypoints
    methods: dict[str, Extractor | PeerExtractor] = dict(
        load_measured(args.weights, args.scales, max_keypoints=limit)
    )
    methods |= load_baselines(choose_baselines(args.baselines), limit)
    sets = _make_sets(Path(args.images), args.count)
    if not sets["warped"][0]:
        raise ConfigError(f"{args.images}: holds no photo of the validation split")
    print(" " * 24 + " ".join(f"{heading:>7}" for heading, _ in _COLUMNS.values()))
    report: dict[str, dict[str, dict[str, float]]] = {}
    for name, extract in methods.items():
        report[name] = {
            kind: _mean([measure(extract, pairs) for pairs in parts])
            for kind, parts in sets.items()
        }
        cells = (
            f"{report[name][kind][metric]:>{max(len(heading), 7)}.{digits}f}"
            for (kind, metric), (heading, digits) in _COLUMNS.items()
        )
        print(f"{name:<24}" + " ".join(cells), flush=True)
    if args.json:
        extractors = {name: describe_extractor(extract) for name, extract in methods.items()}
        header = {"protocol": VALIDATION_PROTOCOL.name, "images": args.images, "count": args.count}
        write_json(args.json, {**header, "extractors": extractors, "sets": report})
    return 0


def _make_sets(images: Path, count: int) -> dict[str, list[list[HomographyPair]]]:
    """Return set -> its parts, which count alike."""
    from superpoint_ros.training.changes import make_changed_pairs
    from superpoint_ros.training.validation import NEAR_VIEWS, make_validation_pairs

    num_near, num_hard = -(-count // 2), -(-count * 3 // 20)
    return {
        "warped": [make_validation_pairs(images, count)],
        "hard": [make_changed_pairs(images, num_hard, *change) for change in _HARD],
        "near": [make_validation_pairs(images, num_near, views=NEAR_VIEWS)],
    }


def _mean(summaries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in summaries])) for name in summaries[0]}
