# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train SuperPoint from nothing: shapes -> MagicPoint -> labels on photos -> SuperPoint.

`superpoint train all --images DIR --out runs/x` runs the whole chain; what is done is skipped, and
what was interrupted goes on where it stopped. A single stage can be named instead of `all`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from superpoint_ros.network.superpoint import SuperPoint

_VALIDATION_PAIRS = 100
STAGES = ("magicpoint", "pseudo-labels", "superpoint", "refine", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("stage", choices=("all", *STAGES), help="stage to run, or the whole chain")
    parser.add_argument(
        "--images", metavar="DIR", default="", help="folder of photos, with subfolders"
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the run (resumable)"
    )
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
    from superpoint_ros.training.sheets import write_batch_sheet
    from superpoint_ros.training.trainer import TrainConfig, make_source, train

    config = load_yaml(TrainConfig, configs / "magicpoint.yaml")
    source = make_source(config, None)
    write_batch_sheet(out / "magicpoint" / "sheet.jpg", source(0))
    train(config, source, out / "magicpoint", device=device)


def _pseudo_labels(configs: Path, out: Path, images: Path | None, device: str) -> None:
    from superpoint_ros.config import load_yaml
    from superpoint_ros.training.adaptation import AdaptationConfig, label_photos

    config = load_yaml(AdaptationConfig, configs / "pseudo_labels.yaml")
    network = _load_network(out / "magicpoint")
    count = label_photos(network, _required(images), out / "pseudo-labels", config, device)
    print(f"superpoint train: {count} photos have labels", file=sys.stderr)


def _superpoint(configs: Path, out: Path, images: Path | None, device: str) -> None:
    _train_on_photos(configs / "superpoint.yaml", out / "magicpoint", out, images, device)


def _refine(configs: Path, out: Path, images: Path | None, device: str) -> None:
    _train_on_photos(configs / "refine.yaml", out / "superpoint", out, images, device)


def _train_on_photos(
    config_path: Path, before: Path, out: Path, images: Path | None, device: str
) -> None:
    """Train on warped pairs, starting from the stage before."""
    from superpoint_ros.config import load_yaml
    from superpoint_ros.training.datasets import LabelledPhotos
    from superpoint_ros.training.sheets import write_batch_sheet, write_label_sheet
    from superpoint_ros.training.trainer import TrainConfig, make_source, train

    config = load_yaml(TrainConfig, config_path)
    photos = LabelledPhotos(_required(images), out / "pseudo-labels", config.photos)
    print(
        f"superpoint train: {len(photos)} labelled photos, {len(photos.skipped)} skipped",
        file=sys.stderr,
    )
    initial = _load_network(before).state_dict()
    source = make_source(config, photos)
    write_label_sheet(out / config_path.stem / "labels.jpg", photos)
    write_batch_sheet(out / config_path.stem / "sheet.jpg", source(0))
    train(config, source, out / config_path.stem, initial, device)


def _export(configs: Path, out: Path, images: Path | None, device: str) -> None:
    """Write the weights, BatchNorm folded, measured on warped photos, with their model card."""
    import dataclasses

    from superpoint_ros.features.extractor import load_extractor
    from superpoint_ros.network.weights import load_weights, save_weights
    from superpoint_ros.training.datasets import list_photos
    from superpoint_ros.training.provenance import LAST_STAGE, make_card
    from superpoint_ros.training.validation import (
        VALIDATION_PROTOCOL,
        make_validation_pairs,
        measure,
    )

    path = out / "superpoint.safetensors"
    card = save_weights(path, _load_network(out / LAST_STAGE), make_card(out, images), half=True)
    if images is not None and list_photos(images, "validation"):
        limit = VALIDATION_PROTOCOL.max_keypoints
        extract = load_extractor(str(path), device=device, max_keypoints=limit)
        summary = measure(extract, make_validation_pairs(images, _VALIDATION_PAIRS))
        metrics = {
            f"{VALIDATION_PROTOCOL.name}/{key}": round(value, 4) for key, value in summary.items()
        }
        network, _ = load_weights(path)
        card = dataclasses.replace(card, metrics={**card.metrics, **metrics})
        card = save_weights(path, network, card, half=True)
        for name, value in metrics.items():
            print(f"{name:<36} {value:.4f}")
    print(f"superpoint train: {path}, sha256 {card.sha256}", file=sys.stderr)


def _required(images: Path | None) -> Path:
    if images is None:
        raise ConfigError("this stage trains on photos: name their folder with --images DIR")
    return images


def _load_network(folder: Path) -> SuperPoint:
    """Return the network of a stage's last checkpoint.

    Raises:
        ConfigError: The stage has not run.
    """
    from superpoint_ros.config import from_mapping
    from superpoint_ros.network.superpoint import SuperPoint
    from superpoint_ros.training.checkpoint import load_checkpoint
    from superpoint_ros.training.trainer import CHECKPOINT_NAME, TrainConfig

    checkpoint = load_checkpoint(folder / CHECKPOINT_NAME)
    if checkpoint is None:
        raise ConfigError(f"{folder}: no checkpoint; run `superpoint train {folder.name}` first")
    network = SuperPoint(from_mapping(TrainConfig, checkpoint.config).network)
    network.load_state_dict(checkpoint.network)
    return network.eval()


_RUNNERS: dict[str, Callable[[Path, Path, Path | None, str], None]] = {
    "magicpoint": _magicpoint,
    "pseudo-labels": _pseudo_labels,
    "superpoint": _superpoint,
    "refine": _refine,
    "export": _export,
}
