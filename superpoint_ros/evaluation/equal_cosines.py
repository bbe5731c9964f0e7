# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure which cosines of other descriptors refuse the same share of right matches as ours.

    python -m superpoint_ros.evaluation.equal_cosines PHOTOS [--kinds NAME ...] [--weights FILE]

PHOTOS is a folder of images. The lines it prints are the table of `baselines.py`: measure again
when the shipped weights change.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from superpoint_ros.data import Array, Features
from superpoint_ros.features import load_extractor
from superpoint_ros.features.peers import make_peer
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.image import read_image, to_grey
from superpoint_ros.matching import match

GRID = (0.6, 0.7, 0.8, 0.9)  # cosines of SuperPoint; below are too few right matches to count
_PHOTOS, _KEYPOINTS, _RIGHT_PX = 40, 500, 3.0


def equal_cosines(ours: Array, others: Array, grid: Sequence[float]) -> list[float]:
    """Return the cosine below which as many of others lie as of ours below each of a grid.

    Args:
        ours: (N,) cosines of right matches.
        others: (M,) likewise, of another kind of descriptor.
        grid: Cosines, ascending.
    """
    shares = [(ours < cosine).mean() for cosine in grid]
    return [float(value) for value in np.quantile(others, shares)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("photos", type=Path, help="folder of images")
    parser.add_argument(
        "--kinds", nargs="+", default=["rootsift", "orb"], help="(default: rootsift orb)"
    )
    parser.add_argument("--weights", default="", help="a file, or small (default: full)")
    args = parser.parse_args(arguments)
    paths = sorted(path for path in args.photos.iterdir() if path.suffix in (".jpg", ".png"))
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(paths), min(_PHOTOS, len(paths)), replace=False)
    pairs = [_make_pair(to_grey(read_image(paths[i])), rng) for i in chosen]
    network = load_extractor(weights=args.weights, max_keypoints=_KEYPOINTS)
    print(f"weights {network.weights_sha256[:8]}, {len(pairs)} photos of {args.photos}")
    ours = _right_cosines(network, pairs)
    shares = ", ".join(f"{100 * (ours < cosine).mean():.1f}" for cosine in GRID)
    print(f"superpoint: {len(ours)} right matches; below {GRID}: {shares} %")
    for kind in args.kinds:
        others = _right_cosines(make_peer(kind, _KEYPOINTS), pairs)
        values = ", ".join(f"{value:.2f}" for value in equal_cosines(ours, others, GRID))
        print(f"{kind}: {len(others)} right matches; as many below ({values})")


def _make_pair(image: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return an image, another view of it in another light, and H_b_a (3, 3)."""
    size_wh = np.array(image.shape[::-1], np.float64)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size_wh
    angle, scale = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.8, 1.2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    moved = (corners - size_wh / 2) @ np.array([[cos, sin], [-sin, cos]]) + size_wh / 2
    moved += rng.uniform(-0.04, 0.04, (4, 2)) * size_wh  # perspective
    H_b_a = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    view = cv2.warpPerspective(image, H_b_a, image.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    light = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.3, 1.2)) * rng.uniform(0.6, 1.4)
    noise = rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape)
    return image, np.clip(light + noise + 0.5, 0, 255).astype(np.uint8), np.asarray(H_b_a)


def _right_cosines(
    extract: Callable[[Array], Features], pairs: Sequence[tuple[Array, Array, Array]]
) -> Array:
    """Return the cosines (N,) of the mutual nearest neighbours that lie where they should."""
    cosines = []
    for image_a, image_b, H_b_a in pairs:
        a, b = extract(image_a), extract(image_b)
        matches = match(a, b)
        of_a, of_b = matches[:, 0], matches[:, 1]
        gap = warp_points(H_b_a, a.keypoints[of_a]) - b.keypoints[of_b]
        is_right = np.linalg.norm(gap, axis=1) < _RIGHT_PX
        similar = (a.descriptors[of_a] * b.descriptors[of_b]).sum(axis=1)
        cosines.append(similar[is_right])
    return np.concatenate(cosines)


if __name__ == "__main__":
    main()
