# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure the latency from a grey image to its features, or that of the odometry after it.

    superpoint benchmark                              VGA, this machine's fastest engine
    superpoint benchmark --size 480x640 --size 240x320 --batch 1 2 --json benchmark.json
    superpoint benchmark --onnx superpoint.onnx       ONNX Runtime with a file of superpoint export
    superpoint benchmark --odometry 150 --keypoints 500        stages of stereo odometry, rendered
    superpoint benchmark --odometry 36000 --round 220          an hour of it: memory, pace, drift

Every row is measured against plain eager PyTorch (float32, default layout) in the same run; the
engines take turns frame by frame, so that a busy machine slows all alike. `ratio_to_eager` is an
engine's median time over eager's: below 1 is faster. Times are per batch, from the image in host
memory to keypoints and descriptors in host memory. Without --image a drawn pattern is used.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_weights, name_scales

if TYPE_CHECKING:
    from collections.abc import Callable

    from superpoint_ros.data import Array
    from superpoint_ros.features import Extractor

_OF_ODOMETRY = ("odometry", "round", "weights", "device", "keypoints", "json")
_COLUMNS = ("engine", "size", "batch", "keypoints", "p50_ms", "p95_ms", "p99_ms", "ratio_to_eager")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--size", action="append", metavar="HxW", help="image size, repeatable (default: 480x640)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=[1],
        metavar="B",
        help="images at once (default: 1)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["auto"],
        choices=("auto", "fp32", "bf16", "fp16"),
        help="torch engines to measure beside eager (default: auto)",
    )
    parser.add_argument(
        "--keypoints", type=int, default=1000, help="at most per image (default: 1000)"
    )
    parser.add_argument("--frames", type=int, default=30, help="per row (default: 30)")
    parser.add_argument("--warmup", type=int, default=3, help="untimed frames per row")
    parser.add_argument("--image", metavar="FILE", default="", help="resized to each size")
    add_weights(parser, with_exported=False)
    parser.add_argument(
        "--onnx", metavar="FILE", default="", help="measure this file of superpoint export, too"
    )
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[],
        metavar="SHARE",
        help="measure every engine with these scales, too, such as 1 0.5",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--odometry",
        type=int,
        metavar="FRAMES",
        default=0,
        help="instead, time the odometry on so many rendered stereo pairs, the network apart; "
        "goes with --weights, --device, --keypoints, --round and --json",
    )
    parser.add_argument(
        "--round",
        type=int,
        metavar="FRAMES",
        default=0,
        help="with --odometry: render one round of the room in so many frames, track it again and "
        "again, and tell time, memory and drift of each tenth",
    )
    parser.add_argument("--json", metavar="FILE", default="", help="write the rows there")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON."""
    import torch

    from superpoint_ros import __version__
    from superpoint_ros.cli._recording import check_limits
    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import write_json

    if args.frames < 1 or min(args.batch) < 1:
        raise ConfigError("--frames and --batch must be at least 1")
    check_limits(args, warmup=0)
    if args.odometry or args.round:
        return _run_odometry(args)
    sizes = [_parse_size(text) for text in args.size or ["480x640"]]
    extractors = _make_extractors(args)
    device = _describe_device(extractors["eager"])
    rows: list[dict[str, object]] = []
    for size_hw in sizes:
        image = _make_image(args.image, size_hw)
        for batch in args.batch:
            rows += _measure(extractors, image, batch, args.frames, args.warmup)
    for row in rows:
        row["device"] = device
    _print_table(rows, device)
    if args.json:
        write_json(
            args.json,
            {
                "rows": rows,
                "frames": args.frames,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "weights_sha256": extractors["eager"].weights_sha256,
                "version": __version__,
            },
        )
    return 0


def _run_odometry(args: argparse.Namespace) -> int:
    """Time the odometry, print its stages, write the JSON."""
    from superpoint_ros import __version__
    from superpoint_ros.config import ConfigError
    from superpoint_ros.features import load_extractor
    from superpoint_ros.files import write_json

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args([])).items()
    unused = [name for name, value in defaults if getattr(args, name) != value]
    names = ", ".join(f"--{name}" for name in unused if name not in _OF_ODOMETRY)
    if names:
        raise ConfigError(f"{names}: of the network, not of --odometry")
    if args.odometry <= 10:
        raise ConfigError("--odometry needs more than 10 frames: so many warm up")
    if args.round < 0 or args.round > args.odometry:
        raise ConfigError("--round: from 1 to the number of frames of --odometry")
    extract = load_extractor(
        weights=args.weights, device=args.device, max_keypoints=args.keypoints
    )

    def show_progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\r\033[K" if done == total else ""
            print(f"\rfeatures {done}/{total}{end}", end="", file=sys.stderr, flush=True)

    rows = (_run_rounds if args.round else _run_stages)(args, extract, show_progress)
    if args.json:
        values = {"rows": rows, "keypoints": args.keypoints, "version": __version__}
        write_json(args.json, {**values, "weights_sha256": extract.weights_sha256})
    return 0


def _run_stages(
    args: argparse.Namespace, extract: Extractor, show_progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Print how long each stage takes."""
    from superpoint_ros.evaluation.odometry_benchmark import measure_odometry

    rows = measure_odometry(extract.extract_batch, args.odometry, show_progress)
    columns = ("cpu_mean", "p50", "p95", "max")
    print(f"{'stage':>14} {'count':>6} " + " ".join(f"{name + ' ms':>12}" for name in columns))
    for row in rows:
        cells = ["" if row[name] is None else f"{row[name]:.2f}" for name in columns]
        print(f"{row['stage']:>14} {row['count']:>6} " + " ".join(f"{cell:>12}" for cell in cells))
    print(f"{1e3 / rows[0]['cpu_mean']:.0f} frames/s of CPU time in tracking's thread")
    return rows


def _run_rounds(
    args: argparse.Namespace, extract: Extractor, show_progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Print each tenth of a long run as it ends."""
    from superpoint_ros.evaluation.odometry_benchmark import (
        LongRunPart,
        observe_round,
        repeat_round,
    )

    names = [field.name for field in dataclasses.fields(LongRunPart)]
    print(" ".join(names))

    def show(part: LongRunPart) -> None:
        cells = [
            "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
            for value in dataclasses.astuple(part)
        ]
        row = zip(names, cells, strict=True)
        print(" ".join(f"{cell:>{len(name)}}" for name, cell in row), flush=True)

    observations = observe_round(extract.extract_batch, args.round, show_progress)
    return [dataclasses.asdict(part) for part in repeat_round(observations, args.odometry, show)]


def _make_extractors(args: argparse.Namespace) -> dict[str, Extractor]:
    """Return name -> extractor; "eager" is the yardstick and comes first."""
    from superpoint_ros.engines.engine import EngineConfig
    from superpoint_ros.features import Extractor, ExtractorConfig, extractor_from_config
    from superpoint_ros.features.keypoints import KeypointConfig

    def make(
        precision: str, channels_last: bool, name: str = "torch", weights: str = args.weights
    ) -> Extractor:
        engine = EngineConfig(
            name=name,
            device=args.device,
            precision=precision,
            channels_last=channels_last,
            num_threads=args.threads,
        )
        keypoints = KeypointConfig(max_keypoints=args.keypoints)
        return extractor_from_config(
            ExtractorConfig(weights=weights, engine=engine, keypoints=keypoints)
        )

    extractors = {"eager": make("fp32", channels_last=False)}
    engines = [make(precision, channels_last=True) for precision in args.precision]
    if args.onnx:
        engines.append(make("auto", True, "onnxruntime", args.onnx))
    for extractor in engines:
        extractors[extractor.engine.name] = extractor
        if args.scales:
            config = dataclasses.replace(extractor.config, scales=tuple(args.scales))
            name = f"{extractor.engine.name} {name_scales(args.scales)}"
            extractors[name] = Extractor(extractor.engine, extractor.card, config)
    return extractors


def _measure(
    extractors: dict[str, Extractor], image: Array, batch: int, frames: int, warmup: int
) -> list[dict[str, object]]:
    """Return one row per extractor for one size and batch."""
    import numpy as np

    images = [image] * batch
    times: dict[str, list[float]] = {name: [] for name in extractors}
    keypoints = dict.fromkeys(extractors, 0)
    for frame in range(-warmup, frames):
        for name, extract in extractors.items():
            start = time.perf_counter()
            features = extract.extract_batch(images)  # ends with a copy to the host, so it waits
            if frame >= 0:
                times[name].append(1e3 * (time.perf_counter() - start))
            keypoints[name] = len(features[0])
        if sys.stderr.isatty():
            print(f"\r{image.shape[0]}x{image.shape[1]} batch {batch}: frame {max(frame + 1, 0)}"
                  f" of {frames}", end="", file=sys.stderr)  # fmt: skip
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    eager_p50 = float(np.percentile(times["eager"], 50))
    rows: list[dict[str, object]] = []
    for name, values in times.items():
        p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
        rows.append(
            {
                "engine": name,
                "size": f"{image.shape[0]}x{image.shape[1]}",
                "batch": batch,
                "keypoints": keypoints[name],
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "ratio_to_eager": p50 / eager_p50,
            }
        )
    return rows


def _parse_size(text: str) -> tuple[int, int]:
    from superpoint_ros.config import ConfigError

    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ConfigError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 480x640")
    return int(height), int(width)


def _make_image(path: str, size_hw: tuple[int, int]) -> Array:
    """Return the grey image to measure on: the given one, or seeded random blocks."""
    import numpy as np

    from superpoint_ros.image import read_image, resize, to_grey

    if path:
        return resize(to_grey(read_image(path)), size_hw)
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (-(-size_hw[0] // 16), -(-size_hw[1] // 16)), dtype=np.uint8)
    drawn: Array = np.kron(blocks, np.ones((16, 16), dtype=np.uint8))
    return np.ascontiguousarray(drawn[: size_hw[0], : size_hw[1]])


def _describe_device(extractor: Extractor) -> str:
    import torch

    if extractor.engine.device.type == "cuda":
        return torch.cuda.get_device_name(extractor.engine.device)
    return f"cpu {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _print_table(rows: list[dict[str, object]], device: str) -> None:
    print(f"device: {device}")
    print(" ".join(f"{name:>14}" for name in _COLUMNS))
    for row in rows:
        cells = []
        for name in _COLUMNS:
            value = row[name]
            cells.append(f"{value:14.2f}" if isinstance(value, float) else f"{value!s:>14}")
        print(" ".join(cells))
