# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments that every command with an extractor shares."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpoint_ros.features import Extractor
    from superpoint_ros.features.peers import PeerExtractor


def add_extractor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare weights, engine and keypoint arguments; absent ones keep the config's defaults."""
    group = parser.add_argument_group("features")
    group.add_argument(
        "--features",
        metavar="KIND",
        default="superpoint",
        help="superpoint, rootsift, orb, akaze (where OpenCV has it), aliked-n16rot (and its "
        "other models, by kornia), or corners without descriptors: fast, harris, shi-tomasi; all "
        "but superpoint ignore the settings of the network (default: superpoint)",
    )
    add_weights(group)
    group.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    group.add_argument("--precision", help="auto, fp32, bf16 or fp16 (default: auto)")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")
    group.add_argument(
        "--max-keypoints",
        type=int,
        metavar="N",
        help="best so many are kept; 0: no limit (default: 1000)",
    )
    group.add_argument(
        "--threshold", type=float, help="smallest score of a keypoint (default: 0.005)"
    )
    group.add_argument(
        "--nms-radius", type=int, metavar="PX", help="distance between keypoints (default: 3)"
    )
    group.add_argument(
        "--longer-side",
        type=int,
        metavar="PX",
        help="shrink larger images to this (default: 0, never)",
    )
    add_scales(group)


def add_weights(parser: argparse._ActionsContainer, with_exported: bool = True) -> None:
    """Declare the weights of the network, as `find_weights` takes them.

    Args:
        parser: Where to declare.
        with_exported: Whether a .onnx file of `superpoint export` will do.
    """
    exported = ", one of `superpoint export`," if with_exported else ""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="",
        help=f"a .safetensors file{exported} or small (default: full)",
    )


def add_scales(parser: argparse._ActionsContainer) -> None:
    """Declare the sizes at which the network sees an image; absent: the config's default."""
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="the network sees the image at these shares of its sides and averages: 1 0.5 finds "
        "and matches more, for a quarter more time (default: 1)",
    )


def name_scales(scales: Sequence[float]) -> str:
    """Return scales as they are given on the command line, such as "1 0.5"."""
    return " ".join(f"{scale:g}" for scale in scales)


def add_measured_weights(parser: argparse.ArgumentParser) -> None:
    """Declare the weights of a command that compares several."""
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="FILE",
        help="weights to measure, may be repeated (default: the shipped ones)",
    )
    add_scales(parser)


def load_measured(
    weights: Sequence[str], scales: Sequence[float] | None, **settings: Any
) -> dict[str, Extractor]:
    """Load the weights of `add_measured_weights`.

    Args:
        weights: Files; none: the shipped ones.
        scales: At which the network sees an image; None: the config's default.
        settings: Further arguments of `load_extractor`.

    Returns:
        Name -> extractor, in order: the file's name without its ending, with a prime where two
        would be the same.
    """
    from superpoint_ros.features import load_extractor

    if scales is not None:
        settings["scales"] = scales
    extractors: dict[str, Extractor] = {}
    for path in weights or [""]:
        extractor = load_extractor(path, **settings)
        name = Path(path).stem if path else extractor.model_id
        while name in extractors:
            name += "'"
        extractors[name] = extractor
    return extractors


def add_baselines(parser: argparse.ArgumentParser, with_detectors: bool = False) -> None:
    """Declare which features of others are measured beside the network."""
    more = ", fast, harris, shi-tomasi" if with_detectors else ""
    parser.add_argument(
        "--baselines",
        metavar="NAMES",
        default="all",
        help=f"comma-separated: rootsift, orb, akaze (where OpenCV has it){more}, aliked-t16, "
        "-n16, -n16rot, -n32 (kornia fetches their weights); empty for none (default: all but "
        "aliked)",
    )


def choose_baselines(wanted: str, with_detectors: bool = False) -> list[str]:
    """Return the names of `add_baselines`; who makes the features checks them."""
    from superpoint_ros.features.peers import (
        CLASSICAL_DESCRIBED,
        CLASSICAL_DETECTORS,
        is_available,
    )

    if wanted == "all":
        detectors = CLASSICAL_DETECTORS if with_detectors else ()
        return [name for name in (*CLASSICAL_DESCRIBED, *detectors) if is_available(name)]
    return [name.strip() for name in wanted.split(",") if name.strip()]


def load_baselines(names: Sequence[str], max_keypoints: int) -> dict[str, PeerExtractor]:
    """Return name -> extractor, in order.

    Raises:
        ConfigError: There are no such features, or they cannot be had here.
    """
    from superpoint_ros.features.peers import make_peer

    return {name: make_peer(name, max_keypoints) for name in names}


def make_extractor(args: argparse.Namespace) -> Extractor | PeerExtractor:
    """Build the extractor that the arguments describe.

    Raises:
        ConfigError: A value out of range, or a device or features that are not here.
        WeightsError: No weights, or damaged ones.
    """
    from superpoint_ros.config import from_mapping
    from superpoint_ros.features import ExtractorConfig, extractor_from_config
    from superpoint_ros.features.peers import make_peer

    given = {
        "weights": args.weights,
        "longer_side_px": args.longer_side,
        "scales": args.scales,
        "engine": {
            "device": args.device,
            "precision": args.precision,
            "num_threads": args.threads,
        },
        "keypoints": {
            "max_keypoints": args.max_keypoints,
            "detection_threshold": args.threshold,
            "nms_radius": args.nms_radius,
        },
    }
    config = from_mapping(ExtractorConfig, _without_none(given))
    if args.features != "superpoint":
        keypoints = config.keypoints
        return make_peer(args.features, keypoints.max_keypoints, keypoints.nms_radius)
    return extractor_from_config(config)


def describe_extractor(extractor: Extractor | PeerExtractor) -> dict[str, object]:
    """Return what produced some features, for JSON."""
    from superpoint_ros import __version__
    from superpoint_ros.features.peers import PeerExtractor

    if isinstance(extractor, PeerExtractor):
        return {
            "model_id": extractor.model_id,
            "max_keypoints": extractor.max_keypoints,
            "version": __version__,
        }
    return {
        "model_id": extractor.model_id,
        "weights_sha256": extractor.weights_sha256,
        "engine": extractor.engine.name,
        "device": str(extractor.engine.device),
        "config": dataclasses.asdict(extractor.config),
        "version": __version__,
    }


def _without_none(values: dict[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            kept[key] = _without_none(value)
        elif value is not None:
            kept[key] = value
    return kept
