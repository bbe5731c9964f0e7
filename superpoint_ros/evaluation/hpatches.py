# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of image sets with known homographies, in the layout of HPatches and Oxford.

Every subfolder is a set: images `1.*` to `N.*` and text files `H_1_k` (3x3) that take pixels of
image 1 to pixels of image k.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array

_SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".tif")


class HomographyPair(NamedTuple):
    """Two images of one plane.

    Attributes:
        name: "set/1-k".
        image_a: (H, W) uint8.
        image_b: (H', W') uint8.
        H_b_a: (3, 3) float64, pixels of a to pixels of b.
    """

    name: str
    image_a: Array
    image_b: Array
    H_b_a: Array


def read_pairs(folder: Path | str) -> list[HomographyPair]:
    """Read all pairs of all sets, in order.

    Raises:
        ConfigError: No sets, or a set with a missing or unreadable file; names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder of image sets")
    pairs: list[HomographyPair] = []
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        homographies = sorted(subfolder.glob("H_1_*"), key=lambda path: int(path.name[4:]))
        if not homographies:
            continue
        image_a = _read_image(subfolder, "1")
        for path in homographies:
            other = path.name[4:]
            H = _read_homography(path)
            name = f"{subfolder.name}/1-{other}"
            pairs.append(HomographyPair(name, image_a, _read_image(subfolder, other), H))
    if not pairs:
        raise ConfigError(f"{folder}: no subfolder with images 1.* and homographies H_1_k")
    return pairs


def _read_image(folder: Path, stem: str) -> Array:
    for suffix in _SUFFIXES:
        path = folder / (stem + suffix)
        if path.is_file():
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise ConfigError(f"{path}: is not a readable image")
            return np.asarray(image)
    raise ConfigError(f"{folder}: has no image {stem}.* ({', '.join(_SUFFIXES)})")


def _read_homography(path: Path) -> Array:
    try:
        H = np.loadtxt(path, dtype=np.float64)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: is not a 3x3 matrix ({error})") from None
    if H.shape != (3, 3):
        raise ConfigError(f"{path}: is {H.shape}, not a 3x3 matrix")
    return H
