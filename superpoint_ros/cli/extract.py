# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find and describe the keypoints of images.

    superpoint extract photo.jpg                      says how many
    superpoint extract photo.jpg --out photo.npz      keypoints, scores, descriptors for NumPy
    superpoint extract photo.jpg --out photo.png      a picture of them
    superpoint extract *.jpg --out features/          one .npz per image

Keypoints are (x, y) in pixels of the image as it is on disk; the centre of the top-left pixel is
(0, 0). Scores fall from high to low; descriptors have unit length.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.cli._extractor import (
    add_extractor_arguments,
    describe_extractor,
    make_extractor,
)

if TYPE_CHECKING:
    from superpoint_ros.data import Array, Features


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument(
        "--out", metavar="PATH", default="", help=".npz: features; .png or .jpg: picture; or DIR"
    )
    parser.add_argument("--json", metavar="FILE", default="", help="write a summary there")
    add_extractor_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Extract, write, print one line per image."""
    from superpoint_ros.config import ConfigError
    from superpoint_ros.files import write_json
    from superpoint_ros.image import read_image

    out = Path(args.out) if args.out else None
    is_folder = out is not None and (
        not out.suffix or out.is_dir() or args.out.endswith(os.sep)  # which Path drops
    )
    if out is not None and not is_folder and len(args.images) > 1:
        raise ConfigError(f"--out {out}: several images need a folder, not a file")
    if out is not None and is_folder:
        _check_names(out, args.images)
    extract = make_extractor(args)
    rows = []
    for name in args.images:
        image = read_image(name)
        start = time.perf_counter()
        features = extract(image)
        elapsed_ms = 1e3 * (time.perf_counter() - start)
        written = ""
        if out is not None:
            path = _file_of(out, name) if is_folder else out
            _write(path, image, features)
            written = f" -> {path}"
        height, width = features.image_size_hw
        print(f"{name}: {len(features)} keypoints, {width}x{height}, {elapsed_ms:.0f} ms{written}")
        rows.append(
            {
                "image": str(name),
                "size_hw": [height, width],
                "keypoints": len(features),
                "mean_score": float(features.scores.mean()) if len(features) else 0.0,
                "latency_ms": elapsed_ms,
                "out": written.removeprefix(" -> "),
            }
        )
    if args.json:
        write_json(args.json, {"images": rows, **describe_extractor(extract)})
    if all(row["keypoints"] == 0 for row in rows):
        print("no keypoints: lower --threshold, or the images show nothing", file=sys.stderr)
    return 0


def _file_of(folder: Path, image: str) -> Path:
    return folder / f"{Path(image).stem}.npz"


def _check_names(folder: Path, images: Sequence[str]) -> None:
    """Check that no two images would be written to one file.

    Raises:
        ConfigError: Two would; it names them.
    """
    from superpoint_ros.config import ConfigError

    owners: dict[Path, str] = {}
    for image in images:
        path = _file_of(folder, image)
        owner = owners.setdefault(path, image)
        if owner != image:
            raise ConfigError(f"--out {folder}: {owner} and {image} would both become {path}")


def _write(path: Path, image: Array, features: Features) -> None:
    import numpy as np

    from superpoint_ros.drawing import draw_keypoints
    from superpoint_ros.files import replaced
    from superpoint_ros.image import write_image

    if path.suffix.lower() != ".npz":
        write_image(path, draw_keypoints(image, features.keypoints, features.scores))
        return
    with replaced(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            keypoints=features.keypoints,
            scores=features.scores,
            descriptors=features.descriptors,
            image_size_hw=np.array(features.image_size_hw),
        )
