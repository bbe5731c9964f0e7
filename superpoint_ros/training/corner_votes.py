# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Homographic Adaptation with a plain corner detector as the teacher.

The same idea as `adaptation.adapt`, with votes in place of heatmaps: corners are found in many
warped, noisy views of a photo, mapped back, and counted. Where corners come back in every view
lies a repeatable point, and the mean of its sightings is exact to a fraction of a pixel. A view
costs milliseconds, not a pass through the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array
from superpoint_ros.features.peaks import find_peaks
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.training.augmentation import AugmentationConfig, augment
from superpoint_ros.training.datasets import splat
from superpoint_ros.training.homographies import (
    HomographyConfig,
    sample_homography,
    valid_mask,
    warp_image,
)


@dataclass(frozen=True)
class CornerConfig(Config):
    """What the teacher calls a corner, and the noise its views carry."""

    blur_px: float = option(1.0, "Gaussian blur before the gradients, pixels", minimum=0.0)
    pixels_per_corner: float = option(
        256.0, "One corner is kept per so many pixels of a view", minimum=16.0
    )
    spread_px: float = option(0.8, "Gaussian spread of a vote, pixels", minimum=0.1)
    noise: AugmentationConfig = field(default_factory=lambda: AugmentationConfig(probability=0.3))


def find_corners(image: Array, config: CornerConfig) -> Array:
    """Return the strongest corners (Shi-Tomasi) with sub-pixel positions.

    Args:
        image: (H, W) uint8.
        config: Blur and density.

    Returns:
        (N, 2) float64, (x, y) pixels, strongest first, none within 4 pixels of the edge.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), max(config.blur_px, 0.1))
    strength = cv2.cornerMinEigenVal(smooth, 3, ksize=3)
    points, _ = find_peaks(strength, 1.0e-4, 3, int(image.size / config.pixels_per_corner))
    return points


def vote(
    image: Array,
    rng: np.random.Generator,
    views: int,
    homography: HomographyConfig,
    erosion_px: int,
    config: CornerConfig,
) -> Array:
    """Count in which share of its views every point of a photo is a corner.

    Args:
        image: (H, W) uint8.
        rng: Source of randomness.
        views: The identity included, which comes first and without noise.
        homography: Ranges of the other views.
        erosion_px: Sightings nearer than this to the photo's edge are ignored.
        config: The teacher.

    Returns:
        (H, W) float32, votes per visible view, spread by a Gaussian.
    """
    size_hw = (image.shape[0], image.shape[1])
    votes = np.zeros(size_hw, np.float32)
    count = np.zeros(size_hw, np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * erosion_px + 1,) * 2)
    for index in range(views):
        H_v_p = np.eye(3)
        view = image
        if index > 0:
            H_v_p = sample_homography(rng, size_hw, size_hw, homography)
            view = augment(warp_image(image, H_v_p, size_hw), rng, config.noise)
        seen = cv2.erode(valid_mask(H_v_p, size_hw, size_hw).astype(np.uint8), disc, borderValue=0)
        corners = find_corners(view, config)
        x, y = np.rint(corners).astype(int).T
        H_p_v = np.linalg.inv(H_v_p)
        votes += splat(warp_points(H_p_v, corners[seen[y, x] > 0]), size_hw, is_subpixel=True)
        count += cv2.warpPerspective(seen, H_p_v, size_hw[::-1], flags=cv2.INTER_NEAREST)
    spread: Array = cv2.GaussianBlur(votes, (0, 0), config.spread_px)
    # A point that few views saw must not win by luck.
    return spread / np.maximum(count, min(views, 6))
