# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Render a sequence with known poses into a rosbag2 (mcap) recording.

A camera moves through a textured room; image, camera_info, depth or right image and the true
pose go into the bag, as many frames as asked for. The same options give the same pixels.

  superpoint render room.mcap --frames 300                      RGB-D, 10 s
  superpoint render pair.mcap --sensor stereo --exposure-ms 8   stereo with motion blur
  superpoint replay room.mcap                                   and through the nodes
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, get_args, get_origin

from superpoint_ros.config import Config, Setting, from_mapping, load_yaml, settings, to_mapping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: one for every setting of `SequenceConfig`."""
    from superpoint_ros.evaluation.bag_writer import TRANSPORTS
    from superpoint_ros.evaluation.synthetic import SequenceConfig

    parser.add_argument(
        "out", type=Path, metavar="OUT", help="X.mcap: one file; else a rosbag2 directory"
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings; options win over it")
    parser.add_argument(
        "--transport",
        choices=TRANSPORTS,
        default="raw",
        help="image messages: raw, or compressed as png or jpeg (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT if it is a file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was done to FILE")
    group = parser.add_argument_group("what is rendered")
    for setting in settings(SequenceConfig):
        _add_setting(group, setting)


def run(args: argparse.Namespace) -> int:
    """Render the bag."""
    from superpoint_ros.evaluation.bag_writer import write_bag
    from superpoint_ros.evaluation.synthetic import SequenceConfig

    base = load_yaml(SequenceConfig, args.config) if args.config else SequenceConfig()
    config = from_mapping(SequenceConfig, _override(base, args))
    start = time.perf_counter()
    frames = write_bag(args.out, config, args.transport, show_progress, overwrite=args.force)
    seconds = time.perf_counter() - start
    size_mb = _size_bytes(args.out) / 1e6
    print(f"{args.out}: {frames} {config.sensor} frames, {size_mb:.1f} MB, {seconds:.1f} s")
    if args.json:
        from superpoint_ros.files import write_json

        summary = {
            "bag": str(args.out),
            "frames": frames,
            "size_mb": round(size_mb, 3),
            "seconds": round(seconds, 3),
            "config": to_mapping(config),
        }
        write_json(args.json, summary)
    return 0


def _add_setting(group: argparse._ArgumentGroup, setting: Setting) -> None:
    is_list = get_origin(setting.kind) is tuple
    default = setting.default if setting.default != [] else "none"
    options: dict[str, Any] = {
        "dest": setting.name,
        "default": None,
        "type": get_args(setting.kind)[0] if is_list else setting.kind,
        "help": f"{setting.description} (default: {default})".replace("%", "%%"),
    }
    if is_list:
        options["nargs"] = "*"
    if setting.choices:
        options["choices"] = setting.choices
    else:
        options["metavar"] = "X"
    group.add_argument("--" + setting.name.rpartition(".")[2].replace("_", "-"), **options)


def _override(base: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Return the mapping of `base` with the options that were given put in."""
    mapping = to_mapping(base)
    for setting in settings(type(base)):
        value = getattr(args, setting.name)
        if value is not None:
            node = mapping
            *parents, leaf = setting.name.split(".")
            for parent in parents:
                node = node[parent]
            node[leaf] = value
    return mapping


def show_progress(done: int, total: int) -> None:
    """Keep one line of a terminal up to date; nothing on a pipe."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rrendering {done}/{total}", end=end, file=sys.stderr, flush=True)


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else path.iterdir()
    return sum(file.stat().st_size for file in files)
