# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of image sets with known homographies, in the layout of HPatches and Oxford.

Every subfolder is a set: images `1.*` to `N.*` and text files `H_1_k` (3x3) that take pixels of
image 1 to pixels of image k. In HPatches the names of sets say what changes: `i_*` the
illumination, `v_*` the viewpoint.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array

_SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".tif")
_GROUPS = {"i_": "illumination", "v_": "viewpoint"}


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


class ImageSet(NamedTuple):
    """Images of one plane; the first is the reference of all pairs.

    Attributes:
        name: Of the folder.
        paths: N image files.
        homographies: N - 1 matrices (3, 3) float64, pixels of the first to pixels of each other.
        pair_names: N - 1 names, "set/1-k".
    """

    name: str
    paths: tuple[Path, ...]
    homographies: tuple[Array, ...]
    pair_names: tuple[str, ...]


def list_sets(folder: Path | str) -> list[ImageSet]:
    """Find all sets, in order of their names; images are not read yet.

    Raises:
        ConfigError: No sets, or one with a missing image or an unreadable homography; names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder of image sets")
    sets = []
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = {
            int(match.group(1)): path
            for path in subfolder.iterdir()
            if (match := re.fullmatch(r"H_1_(\d+)(\.txt)?", path.name))
        }
        if not found:
            continue
        others = sorted(found)
        sets.append(
            ImageSet(
                subfolder.name,
                tuple(_find_image(subfolder, str(stem)) for stem in (1, *others)),
                tuple(_read_homography(found[other]) for other in others),
                tuple(f"{subfolder.name}/1-{other}" for other in others),
            )
        )
    if not sets:
        raise ConfigError(f"{folder}: no subfolder with images 1.* and homographies H_1_k")
    return sets


def read_grey(path: Path) -> Array:
    """Read an image as (H, W) uint8.

    Raises:
        ConfigError: It is not an image; names it.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ConfigError(f"{path}: is not a readable image")
    return np.asarray(image)


def set_of(pair_name: str) -> str:
    """Return the set that a pair belongs to; pairs without one stand for themselves."""
    return pair_name.rpartition("/")[0] or pair_name


def group_of(pair_name: str) -> str:
    """Return "illumination" or "viewpoint" for a pair of HPatches, else an empty string."""
    return _GROUPS.get(pair_name[:2], "")


def _find_image(folder: Path, stem: str) -> Path:
    for suffix in _SUFFIXES:
        path = folder / (stem + suffix)
        if path.is_file():
            return path
    raise ConfigError(f"{folder}: has no image {stem}.* ({', '.join(_SUFFIXES)})")


def _read_homography(path: Path) -> Array:
    try:
        H = np.loadtxt(path, dtype=np.float64)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: is not a 3x3 matrix ({error})") from None
    if H.shape == (3, 3) and np.isfinite(H).all() and H[2, 2]:
        H /= H[2, 2]  # of a negative multiple every point would lie behind the horizon
        if abs(np.linalg.det(H)) >= 1e-12:
            return H
    raise ConfigError(f"{path}: is not an invertible 3x3 matrix")
