# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choose settings without touching any test set: warped photos of the validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.homography import Extract, evaluate_pair, summarise
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.evaluation.protocol import Protocol, Setting
from superpoint_ros.training.augmentation import AugmentationConfig, augment
from superpoint_ros.training.datasets import list_photos, read_photo
from superpoint_ros.training.homographies import HomographyConfig, sample_homography, warp_image

# Of a pair's first and second view.
VALIDATION_VIEWS = (
    HomographyConfig(perspective=0.05, scale=1.1, rotation_deg=5.0, translation=0.02),
    HomographyConfig(perspective=0.25, scale=1.8, rotation_deg=45.0, translation=0.1),
)
# As two images of a moving camera.
NEAR_VIEWS = (
    HomographyConfig(perspective=0.03, scale=1.06, rotation_deg=3.0, translation=0.03),
) * 2
# Fewer points than l640: the photos have a quarter of its area. Several runs of RANSAC, since what
# one makes of the same matches in another order differs by more than weights do.
VALIDATION_PROTOCOL = Protocol("warped-photos-ransac8", Setting(max_keypoints=300), ransac_runs=8)


def make_validation_pairs(
    images: Path,
    count: int,
    size_hw: tuple[int, int] = (240, 320),
    seed: int = 0,
    split: str = "validation",
    views: tuple[HomographyConfig, HomographyConfig] = VALIDATION_VIEWS,
) -> list[HomographyPair]:
    """Warp photos twice each, with photometric noise.

    Args:
        images: Folder of photos, as given to the training.
        count: Pairs.
        size_hw: (height, width) of the views.
        seed: Same seed, same pairs.
        split: Which photos, see `list_photos`.
        views: Ranges of the first and the second view of a pair.
    """

    def draw(rng: np.random.Generator, source_hw: tuple[int, int]) -> tuple[Array, Array]:
        H_a_p, H_b_p = (sample_homography(rng, source_hw, size_hw, view) for view in views)
        return H_a_p, H_b_p

    return make_pairs(list_photos(images, split), count, size_hw, seed, draw)


def make_pairs(
    paths: Sequence[Path],
    count: int,
    size_hw: tuple[int, int],
    seed: int,
    draw: Callable[[np.random.Generator, tuple[int, int]], tuple[Array, Array]],
    change: Callable[[Array, int], Array] | None = None,
) -> list[HomographyPair]:
    """Warp photos to two views each, with photometric noise.

    Args:
        paths: Of the photos; they are taken in turn.
        count: Pairs; none if no photo can be read.
        size_hw: (height, width) of the views.
        seed: Same seed, same pairs.
        draw: Given the (height, width) of a photo, both views' homographies H_view_photo.
        change: Done to the second view last of all; it gets the image and the number of the pair.
    """
    pairs: list[HomographyPair] = []
    noise = AugmentationConfig(probability=0.3)
    broken: set[Path] = set()
    index = -1
    while len(pairs) < count and len(broken) < len(paths):
        index += 1
        rng = np.random.default_rng([seed, index])
        path = paths[index % len(paths)]
        photo = None if path in broken else read_photo(path)
        if photo is None:
            broken.add(path)
            continue
        H_a_p, H_b_p = draw(rng, (photo.shape[0], photo.shape[1]))
        image_a = augment(warp_image(photo, H_a_p, size_hw), rng, noise)
        image_b = augment(warp_image(photo, H_b_p, size_hw), rng, noise)
        if change is not None:
            image_b = change(image_b, index)
        H_b_a = H_b_p @ np.linalg.inv(H_a_p)
        pairs.append(HomographyPair(f"{path.name}#{index}", image_a, image_b, H_b_a))
    return pairs


def measure(extract: Extract, pairs: list[HomographyPair]) -> dict[str, float]:
    """Return the summary of one method on validation pairs."""
    return summarise([evaluate_pair(pair, extract, VALIDATION_PROTOCOL) for pair in pairs])
