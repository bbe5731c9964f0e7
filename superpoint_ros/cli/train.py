# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train SuperPoint from nothing: shapes -> MagicPoint -> labels on photos -> SuperPoint.

`superpoint train all --images DIR --out runs/x` runs the whole chain; what is done is skipped, and
what was interrupted goes on where it stopped. A single stage can be named instead of `all`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from superpoint_ros.config import ConfigError

STAGES = ("magicpoint", "pseudo-labels", "superpoint", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("stage", choices=("all", *STAGES), help="stage to run, or the whole chain")
    parser.add_argument("--images", metavar="DIR", default="", help="photos, any number of folders")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the run (resumable)")
    parser.add_argument(
        "--config", metavar="DIR", default="", help="folder of the stages' YAML (default: shipped)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")


def run(args: argparse.Namespace) -> int:
    """Run the stages asked for."""
    import torch

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    out = Path(args.out)
    configs = Path(args.config) if args.config else find_configs()
    images = Path(args.images) if args.images else None
    for stage in STAGES if args.stage == "all" else (args.stage,):
        print(f"superpoint train: {stage}", file=sys.stderr, flush=True)
        _RUNNERS[stage](configs, out, images, device)
    return 0


def find_configs() -> Path:
    """Return the folder of the shipped YAML files.

    Raises:
        ConfigError: It is neither beside the source nor installed.
    """
    import superpoint_ros

    candidates = [
        Path(superpoint_ros.__file__).resolve().parents[1] / "config" / "train",
        Path(sys.prefix) / "share" / "superpoint_ros" / "config" / "train",
    ]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ConfigError(f"no training configs in {' or '.join(map(str, candidates))}: use --config")


def _magicpoint(configs: Path, out: Path, images: Path | None, device: str) -> None:
    from superpoint_ros.config import load_yaml
    from superpoint_ros.training.trainer import TrainConfig, make_source, train

    config = load_yaml(TrainConfig, configs / "magicpoint.yaml")
    train(config, make_source(config, None), out / "magicpoint", device=device)


_RUNNERS: dict[str, Any] = {"magicpoint": _magicpoint}


