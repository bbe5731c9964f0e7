# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure what Homographic Adaptation adds to a detector's repeatability (the paper's Fig. 6).

Photos of the training's validation split are warped twice; both views are labelled as the stage
relabel would (--config: as another), from 1 view (the detector itself), 10, 100 ... warped views
each, and the labels of the two are compared. 100 views of a pair take about 10 s on a CPU.

    superpoint evaluate adaptation PHOTOS --views 1 10 100 --count 10 --plot gain.png
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from superpoint_ros.cli._extractor import add_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="DIR", help="folder of photos")
    parser.add_argument("--count", type=int, default=10, help="pairs (default: 10)")
    parser.add_argument(
        "--views",
        type=int,
        nargs="+",
        default=[1, 10, 100],
        metavar="N",
        help="warped views that labels are voted by (default: 1 10 100)",
    )
    add_weights(parser, with_exported=False)
    parser.add_argument(
        "--config",
        metavar="YAML",
        default="",
        help="how to label, such as pseudo_labels.yaml (default: relabel.yaml, shipped)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--plot", metavar="FILE", default="", help="write a picture of it there")
    parser.add_argument("--json", metavar="FILE", default="", help="write the numbers there")


def run(args: argparse.Namespace) -> int:
    """Print repeatability and seconds per image by number of views."""
    import torch

    from superpoint_ros.config import ConfigError, load_yaml
    from superpoint_ros.engines.torch_engine import resolve_device
    from superpoint_ros.files import write_json
    from superpoint_ros.graph import config_file
    from superpoint_ros.network.weights import find_weights, load_weights
    from superpoint_ros.training.adaptation import AdaptationConfig, measure_adaptation
    from superpoint_ros.training.validation import make_validation_pairs

    if min(args.views) < 1 or args.count < 1:
        raise ConfigError("--views and --count must be at least 1")
    if args.plot:
        _check_plot(args.plot)
    device = resolve_device(args.device)
    path = Path(args.config) if args.config else config_file("train/relabel.yaml")
    config = load_yaml(AdaptationConfig, path)
    network, card = load_weights(find_weights(args.weights))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pairs = make_validation_pairs(Path(args.images), args.count)
    if not pairs:
        raise ConfigError(f"{args.images}: holds no photo of the validation split")
    print(f"{'views':>8} {'repeatability':>14} {'s per image':>12}")
    rows = []
    for views in args.views:
        started = time.monotonic()
        repeatability = measure_adaptation(network, pairs, views, config, device=str(device))
        seconds = (time.monotonic() - started) / (2 * len(pairs))
        rows.append({"views": views, "repeatability": repeatability, "s_per_image": seconds})
        print(f"{views:>8} {repeatability:>14.3f} {seconds:>12.2f}", flush=True)
    if args.json:
        write_json(args.json, {"rows": rows, "pairs": len(pairs), "weights_sha256": card.sha256})
    if args.plot:
        _plot(args.plot, args.views, [row["repeatability"] for row in rows])
        print(f"wrote {args.plot}", file=sys.stderr)
    return 0


def _check_plot(path: str) -> None:
    """Complain before the work that no picture can be written there."""
    from matplotlib.backend_bases import FigureCanvasBase

    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import check_file

    check_file(path)
    suffixes = [f".{name}" for name in FigureCanvasBase.get_supported_filetypes()]
    if Path(path).suffix.lower() not in suffixes:
        raise ConfigError(f"--plot {path}: must end in one of {', '.join(suffixes)}")


def _plot(path: str, views: list[int], repeatability: list[float]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from superpoint_ros.files import replaced

    figure = Figure(figsize=(5.0, 3.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.bar([str(count) for count in views], repeatability)
    axes.set_xlabel("views per image")
    axes.set_ylabel("repeatability at 3 px")
    figure.tight_layout()
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120)
