# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adapt the weights to your own camera, and say whether that helped.

    superpoint finetune --bag my.mcap --out runs/mine
    superpoint finetune --images frames/ --out runs/mine --weights small

Every n-th frame is taken; of ten blocks of time two are held back. The present weights label
the others (Homographic Adaptation) and teach themselves on them for a few minutes, shown every
view at three sizes; the mean of old and trained weights, which forgets little of other places, is
the new ones. Old and new are measured on warped pairs of the frames held back. The new ones are
written, with a model card that names their parent, if the mean of repeatability, matching score,
MMA and homographies right within 3 px is not lower than before; otherwise nothing is written and
the exit code is 1. Single metrics that are worse all the same are marked, and named in the card.
An interrupted run goes on where it stopped.

Use the result with `--weights FILE` or the parameter `weights` of the nodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_weights

if TYPE_CHECKING:
    from superpoint_ros.data import Array
    from superpoint_ros.training.finetuning import FinetuneConfig, FinetuneResult

_EXIT_WORSE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--bag", metavar="BAG", default="", help="bag, or TUM, KITTI, EuRoC folder"
    )
    source.add_argument(
        "--images", metavar="DIR", default="", help="folder of frames, names in order of time"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the run")
    add_weights(parser, with_exported=False)
    parser.add_argument(
        "--image", metavar="TOPIC", default="", help="image topic of the bag (default: detected)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="frames to take (default: 80)")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: 120)")
    parser.add_argument(
        "--config",
        metavar="YAML",
        default="",
        help="all settings (default: finetune.yaml, shipped)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    parser.add_argument("--json", metavar="FILE", default="", help="write the metrics there")


def run(args: argparse.Namespace) -> int:
    """Sample, label, train, judge."""
    import cv2
    import torch

    from superpoint_ros.engines.torch_engine import resolve_device
    from superpoint_ros.files import check_folder
    from superpoint_ros.network.weights import find_weights, load_weights
    from superpoint_ros.training.datasets import check_apart
    from superpoint_ros.training.finetuning import finetune

    check_folder(args.out)
    if args.images:
        check_apart(args.images, args.out)
    if args.threads > 0:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    device = str(resolve_device(args.device))
    config = _load_config(args)
    weights, out = find_weights(args.weights), Path(args.out)
    load_weights(weights)  # before a folder is taken for this job
    _take_frames(args, config, weights, out)
    name = Path(args.bag or args.images).resolve().name
    result = finetune(weights, out, config, name, device)
    _print_metrics(result)
    if args.json:
        _write_json(args.json, result)
    if result.weights is None:
        print(
            f"superpoint finetune: the new weights are worse on the frames held back; nothing was "
            f"written, keep using {weights}. More --frames, of more places, or fewer --steps may "
            "help.",
            file=sys.stderr,
        )
        return _EXIT_WORSE
    if result.worse:
        print(
            "superpoint finetune: better on the whole, but worse in " + ", ".join(result.worse),
            file=sys.stderr,
        )
    print(
        f"superpoint finetune: {result.weights}, sha256 {result.card.sha256}. Measured on warped "
        f"frames of this recording only: at other places they may be worse than {weights}, and "
        "odometry may be. Compare it: superpoint evaluate bag BAG --weights FILE",
        file=sys.stderr,
    )
    return 0


def _load_config(args: argparse.Namespace) -> FinetuneConfig:
    import dataclasses

    from superpoint_ros.config import load_yaml
    from superpoint_ros.graph import config_file
    from superpoint_ros.training.finetuning import FinetuneConfig

    path = Path(args.config) if args.config else config_file("train/finetune.yaml")
    config = load_yaml(FinetuneConfig, path)
    if args.frames is not None:
        config = dataclasses.replace(config, frames=args.frames)
    if args.steps is not None:
        training = dataclasses.replace(config.training, steps=args.steps)
        config = dataclasses.replace(config, training=training)
    return config


def _take_frames(
    args: argparse.Namespace, config: FinetuneConfig, weights: Path, out: Path
) -> None:
    """Write the frames, unless this folder has those of the same job.

    Raises:
        ConfigError: It has another job's, or files that are not ours where frames would be.
    """
    import json

    from superpoint_ros.config import ConfigError, to_mapping
    from superpoint_ros.files import write_json
    from superpoint_ros.network.weights import file_sha256
    from superpoint_ros.training.finetuning import (
        remove_abandoned,
        sample_bag,
        sample_folder,
        write_frames,
    )

    job: dict[str, Any] = {
        "source": str(Path(args.bag or args.images).resolve()),
        "topic": args.image,
        "weights": file_sha256(weights),
        "config": to_mapping(config),
    }
    done = out / "job.json"
    if done.is_file():
        if json.loads(done.read_text(encoding="utf-8")) != job:
            raise ConfigError(f"{done}: of another recording, weights or config; choose --out")
        return
    remove_abandoned(out, Path(args.bag or args.images))
    frames: Iterator[tuple[str, Array]] = (
        sample_bag(args.bag, args.image, config.frames)
        if args.bag
        else sample_folder(Path(args.images), config.frames)
    )
    trained, held_back = write_frames(frames, out / "frames", config)
    print(
        f"superpoint finetune: {trained} frames to train on, {held_back} held back",
        file=sys.stderr,
    )
    write_json(done, job)


def _print_metrics(result: FinetuneResult) -> None:
    print(f"{'on the frames held back':<26} {'before':>8} {'after':>8}")
    for name, value in result.before.items():
        mark = "  worse" if name in result.worse else ""
        print(f"{name:<26} {value:8.4f} {result.after[name]:8.4f}{mark}")


def _write_json(path: str, result: FinetuneResult) -> None:
    from superpoint_ros.files import write_json

    write_json(
        path,
        {
            "before": result.before,
            "after": result.after,
            "is_better": result.is_better,
            "worse": result.worse,
            "weights": str(result.weights or ""),
            "weights_sha256": result.card.sha256,
        },
    )
