# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write the network as an ONNX file, for ONNX Runtime, TensorRT or OpenVINO.

    superpoint export                                 superpoint.onnx, of the shipped weights
    superpoint export small.onnx --weights small      of the slim network
    superpoint run --param features_node:weights:=superpoint.onnx      a robot that runs it

Input: images (B, 1, H, W) float32, grey in [0, 1], H and W multiples of 8; B, H and W are free.
Outputs: logits (B, 65, H / 8, W / 8), before the softmax, whose last class is "no keypoint in this
cell"; dense_descriptors (B, D, H / 8, W / 8), of unit length. What makes keypoints of them is not
in the file: our nodes, and commands whose --weights say so, take it for weights and do that.
To write it needs onnx and onnxscript, to run it onnxruntime; where that is installed, too, the
outputs are compared with PyTorch's.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.cli._extractor import add_weights

if TYPE_CHECKING:
    from superpoint_ros.network.superpoint import SuperPoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "out",
        metavar="FILE",
        nargs="?",
        default="superpoint.onnx",
        help="to write (default: superpoint.onnx)",
    )
    add_weights(parser, with_exported=False)
    parser.add_argument("--json", metavar="FILE", default="", help="write a summary there")


def run(args: argparse.Namespace) -> int:
    """Export, compare, print."""
    from superpoint_ros import __version__
    from superpoint_ros.engines.onnx_file import INPUT, OUTPUTS, write_onnx
    from superpoint_ros.files import write_json
    from superpoint_ros.network.weights import find_weights, load_weights

    path = Path(args.out)
    weights = find_weights(args.weights)
    network, card = load_weights(weights)
    write_onnx(path, network, card)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {card.name} ({card.sha256[:8]})")
    differences = None
    if importlib.util.find_spec("onnxruntime"):
        differences = _compare(path, network)
        print("largest difference from PyTorch, float32: ", end="")
        print(", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    else:
        print("not compared with PyTorch: onnxruntime is not installed")
    if args.json:
        summary = {
            "file": str(path),
            "input": INPUT,
            "outputs": list(OUTPUTS),
            "max_difference": differences,
            "model_id": card.name,
            "weights_sha256": card.sha256,
            "version": __version__,
        }
        write_json(args.json, summary)
    return 0


def _compare(path: Path, network: SuperPoint) -> dict[str, float]:
    """Return output -> largest difference between the file's and the network's, on noise."""
    import torch

    from superpoint_ros.engines.engine import EngineConfig, load_engine, make_engine

    config = EngineConfig(device="cpu", precision="fp32")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 240, 320), dtype=torch.uint8, generator=generator)
    expected = make_engine(network, config)(images)
    output = load_engine(path, config)[0](images)
    return {
        name: float((getattr(output, name) - getattr(expected, name)).abs().max())
        for name in expected._fields
    }
