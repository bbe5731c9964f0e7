# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure detectors on drawn shapes, clean and noisy, beside FAST, Harris and Shi-Tomasi.

Average precision and localisation as in the SuperPoint paper, Appendix A: a detection is right
within 3 pixels of a true corner, each corner counts once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_measured_weights, load_measured

if TYPE_CHECKING:
    from superpoint_ros.data import Array

_ALL = 10_000  # keypoints per image: average precision needs the weak ones too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--count", type=int, default=1000, help="drawings (default: 1000)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed; not the training's")
    add_measured_weights(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")


def run(args: argparse.Namespace) -> int:
    """Measure every detector on the same drawings; print one row per detector."""
    from superpoint_ros.files import write_json

    report: dict[str, Any] = {"count": args.count, "seed": args.seed, "methods": {}}
    drawings = {
        "clean": _draw(args.count, args.seed, is_noisy=False),
        "noisy": _draw(args.count, args.seed, is_noisy=True),
    }
    print(f"{'':<24} AP clean  AP noisy  loc.px clean  loc.px noisy   ({args.count} drawings)")
    for name, detect in _methods(args.weights).items():
        row: dict[str, float] = {}
        for kind, images in drawings.items():
            if sys.stderr.isatty():
                print(f"\r{name}: {kind}", end="\r", file=sys.stderr)
            row[f"ap_{kind}"], row[f"localization_px_{kind}"] = _judge(detect, images)
        report["methods"][name] = row
        print(
            f"{name:<24} {row['ap_clean']:>8.3f} {row['ap_noisy']:>9.3f} "
            f"{row['localization_px_clean']:>13.2f} {row['localization_px_noisy']:>13.2f}"
        )
    if args.json:
        write_json(args.json, report)
    return 0


def _draw(count: int, seed: int, is_noisy: bool) -> list[tuple[Array, Array]]:
    """Return (image, corners) of the same drawings, with or without noise."""
    import numpy as np

    from superpoint_ros.training.augmentation import AugmentationConfig, augment
    from superpoint_ros.training.shapes import ShapeConfig, draw_shape

    drawings = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        image, corners = draw_shape(rng, ShapeConfig())
        if is_noisy:
            image = augment(image, rng, AugmentationConfig())
        drawings.append((image, corners))
    return drawings


def _judge(
    detect: Callable[[Array], Any], drawings: list[tuple[Array, Array]]
) -> tuple[float, float]:
    """Return average precision and the mean distance of right detections, pixels."""
    import numpy as np

    from superpoint_ros.evaluation.detector import (
        average_precision,
        join_detections,
        judge_detections,
    )

    judged = []
    for image, corners in drawings:
        keypoints, scores = detect(image)
        judged.append(judge_detections(keypoints, scores, corners))
    joined = join_detections(judged)
    precision = average_precision(joined.scores, joined.is_correct, joined.num_true)
    return precision, float(np.nanmean(joined.distances_px)) if joined.is_correct.any() else np.nan


def _methods(weights: list[str]) -> dict[str, Callable[[Array], Any]]:
    methods: dict[str, Callable[[Array], Any]] = {}
    extractors = load_measured(weights, max_keypoints=_ALL, detection_threshold=0.001)
    for name, extractor in extractors.items():

        def detect(image: Array, extractor: Any = extractor) -> tuple[Array, Array]:
            features = extractor(image)
            return features.keypoints, features.scores

        methods[name] = detect
    return {**methods, "fast": _detect_fast, "harris": _detect_harris, "shi-tomasi": _detect_shi}


def _detect_fast(image: Array) -> tuple[Array, Array]:
    import cv2
    import numpy as np

    points = cv2.FastFeatureDetector.create(threshold=5).detect(image)
    keypoints = np.array([point.pt for point in points], np.float64).reshape(-1, 2)
    return keypoints, np.array([point.response for point in points])


def _detect_harris(image: Array) -> tuple[Array, Array]:
    import cv2
    import numpy as np

    response = cv2.cornerHarris(image.astype(np.float32) / 255.0, 4, 3, 0.04)
    return _peaks(np.maximum(response, 0.0))


def _detect_shi(image: Array) -> tuple[Array, Array]:
    import cv2
    import numpy as np

    return _peaks(cv2.cornerMinEigenVal(image.astype(np.float32) / 255.0, 3, ksize=3))


def _peaks(response: Array) -> tuple[Array, Array]:
    from superpoint_ros.training.corner_votes import find_peaks

    return find_peaks(response, 1e-6, 4, _ALL)
