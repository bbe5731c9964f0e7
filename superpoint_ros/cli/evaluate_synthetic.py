# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure detectors on drawn shapes, clean and noisy, beside FAST, Harris and Shi-Tomasi.

Average precision and localisation error as in the SuperPoint paper, Appendix A and B: the mean
over the kinds of drawings that have corners. A detection is right within 3 pixels of a true
corner, each corner counts once. Corners that are hidden, faint, nearly straight or within 4 pixels
of the edge neither help nor harm. "AP all" pools all drawings, ellipses and pure noise included,
where every detection is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_measured_weights, describe_extractor, load_measured

if TYPE_CHECKING:
    from superpoint_ros.data import Array
    from superpoint_ros.evaluation.detector import Detections
    from superpoint_ros.features import Extractor
    from superpoint_ros.features.peers import PeerExtractor
    from superpoint_ros.training.shapes import Drawing

_ALL = 10_000  # keypoints per image: average precision needs the weak ones too
_BORDER_PX = 4.0  # no detector here looks closer to the edge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--count", type=int, default=1000, help="drawings, the kinds in turn (default: 1000)"
    )
    parser.add_argument("--seed", type=int, default=1_000_000, help="seed; not the training's")
    add_measured_weights(parser)
    parser.add_argument("--json", metavar="FILE", default="", help="write all results there")
    parser.add_argument(
        "--pictures", metavar="DIR", default="", help="draw right, wrong and missed corners"
    )


def run(args: argparse.Namespace) -> int:
    """Measure every detector on the same drawings; print one row per detector."""
    from pathlib import Path

    from superpoint_ros.cli._recording import check_limits
    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import check_folder, write_json
    from superpoint_ros.image import write_image
    from superpoint_ros.training.shapes import KINDS

    if args.count < len(KINDS):
        raise ConfigError(f"--count {args.count}: at least {len(KINDS)}, one of each kind")
    check_limits(args, seed=0)
    if args.pictures:
        check_folder(args.pictures)
    methods = _methods(args)
    report: dict[str, Any] = {"count": args.count, "seed": args.seed, "methods": {}}
    for name, extractor in methods.items():
        report["methods"][name] = {"extractor": describe_extractor(extractor)}
    for noise in ("clean", "noisy"):
        # Drawing by drawing: nothing is kept but what was judged, and the few for the pictures.
        judged: dict[str, list[Detections]] = {name: [] for name in methods}
        sheets: dict[str, list[Array]] = {name: [] for name in methods}
        for index, drawing in enumerate(_draw(args.count, args.seed, noise == "noisy")):
            if sys.stderr.isatty():
                print(f"\r{noise}: {index + 1}/{args.count}", end="\r", file=sys.stderr)
            for name, extractor in methods.items():
                found = extractor(drawing.image)
                judged[name].append(_judge(found.keypoints, found.scores, drawing))
                if args.pictures and index < 4 * len(KINDS):
                    sheets[name].append(_draw_tile(drawing, found.keypoints, found.scores))
        for name in methods:
            summary = _summarise(judged[name])
            report["methods"][name] |= {f"{key}_{noise}": v for key, v in summary.items()}
            if args.pictures:
                sheet = _join_tiles(sheets[name], len(KINDS))
                write_image(Path(args.pictures) / f"{name}_{noise}.png", sheet)
    _print_table(report)
    if args.json:
        write_json(args.json, report)
    if args.pictures:
        print(f"pictures in {args.pictures}")
    return 0


def _print_table(report: dict[str, Any]) -> None:
    print(
        f"{'':<16} AP clean  noisy   AP all clean  noisy   loc.px clean  noisy   "
        f"({report['count']} drawings)"
    )
    for name, row in report["methods"].items():
        print(
            f"{name:<16} {row['ap_clean']:>8.3f} {row['ap_noisy']:>6.3f} "
            f"{row['ap_all_clean']:>14.3f} {row['ap_all_noisy']:>6.3f} "
            f"{row['localization_px_clean']:>14.2f} {row['localization_px_noisy']:>6.2f}"
        )


def _draw(count: int, seed: int, is_noisy: bool) -> Iterator[Drawing]:
    """Yield the same drawings with or without noise, kind after kind."""
    import numpy as np

    from superpoint_ros.training.augmentation import AugmentationConfig, augment
    from superpoint_ros.training.shapes import KINDS, ShapeConfig, draw_shape

    for index in range(count):
        rng = np.random.default_rng([seed, index])
        drawing = draw_shape(rng, ShapeConfig(), KINDS[index % len(KINDS)])
        if is_noisy:
            drawing = drawing._replace(image=augment(drawing.image, rng, AugmentationConfig()))
        yield drawing


def _split_truth(drawing: Drawing) -> tuple[Array, Array]:
    """Return the corners to find, and all places where a detection does not count."""
    import numpy as np

    limits = np.array(drawing.image.shape[::-1]) - 1 - _BORDER_PX
    is_inner = ((drawing.corners >= _BORDER_PX) & (drawing.corners <= limits)).all(axis=1)
    doubtful = np.concatenate([drawing.doubtful, drawing.corners[~is_inner]])
    return drawing.corners[is_inner], doubtful


def _judge(keypoints: Array, scores: Array, drawing: Drawing) -> Detections:
    from superpoint_ros.evaluation.detector import judge_detections

    corners, doubtful = _split_truth(drawing)
    return judge_detections(keypoints, scores, corners, doubtful=doubtful)


def _summarise(judged: list[Detections]) -> dict[str, Any]:
    """Return the metrics over the drawings; `judged` in the order of `_draw`."""
    import numpy as np

    from superpoint_ros.evaluation.detector import average_precision, join_detections
    from superpoint_ros.training.shapes import KINDS

    per_kind = {}
    for index, kind in enumerate(KINDS):
        joined = join_detections(judged[index :: len(KINDS)])
        if joined.num_true:
            per_kind[kind] = {
                "ap": average_precision(joined.scores, joined.is_correct, joined.num_true),
                "localization_px": _mean(joined.distances_px[joined.is_correct]),
                "corners": joined.num_true,
            }
    joined = join_detections(judged)
    return {
        "ap": float(np.mean([row["ap"] for row in per_kind.values()])),
        "ap_all": average_precision(joined.scores, joined.is_correct, joined.num_true),
        "localization_px": _mean(np.array([row["localization_px"] for row in per_kind.values()])),
        "mean_response": _mean(joined.scores[joined.is_correct]),
        "kinds": per_kind,
    }


def _mean(values: Array) -> float:
    import numpy as np

    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _draw_tile(drawing: Drawing, keypoints: Array, scores: Array) -> Array:
    """Draw what was found in one drawing.

    As many detections are drawn as there are corners: green right, red wrong, yellow the corners
    that were missed.
    """
    import cv2
    import numpy as np

    from superpoint_ros.drawing import GREEN, RED, YELLOW, draw_keypoints
    from superpoint_ros.evaluation.detector import judge_detections, nearest_distances
    from superpoint_ros.image import scale_points

    corners, doubtful = _split_truth(drawing)
    best = np.argsort(-scores, kind="stable")[: max(len(corners), 3)]
    keypoints = keypoints[best]
    right = judge_detections(keypoints, scores[best], corners).is_correct
    wrong = ~right & (nearest_distances(keypoints, doubtful) > 3.0)
    is_missed = nearest_distances(corners, keypoints) > 3.0
    size_hw = drawing.image.shape
    big_hw = (3 * size_hw[0], 3 * size_hw[1])
    tile = cv2.resize(drawing.image, big_hw[::-1], interpolation=cv2.INTER_NEAREST)
    for points, colour in (
        (keypoints[right], GREEN),
        (keypoints[wrong], RED),
        (corners[is_missed], YELLOW),
    ):
        tile = draw_keypoints(tile, scale_points(points, size_hw, big_hw), colour=colour)
    tile = cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(128,) * 3)
    return np.asarray(tile)


def _join_tiles(tiles: list[Array], columns: int) -> Array:
    """Join the full rows of tiles; the kinds of drawings are the columns."""
    import numpy as np

    count = len(tiles) // columns * columns
    return np.vstack([np.hstack(tiles[at : at + columns]) for at in range(0, count, columns)])


def _methods(args: argparse.Namespace) -> dict[str, Extractor | PeerExtractor]:
    from superpoint_ros.features.peers import CLASSICAL_DETECTORS, make_peer

    detectors = {name: make_peer(name, max_keypoints=0) for name in CLASSICAL_DETECTORS}
    settings = {"max_keypoints": _ALL, "detection_threshold": 0.001}
    return {**load_measured(args.weights, args.scales, **settings), **detectors}
