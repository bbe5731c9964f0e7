# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random homographies for training: how they are drawn, and what they do to images and pixels.

`H_b_a` takes pixels (x, y) of image a to pixels of image b, pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array
from superpoint_ros.geometry.homography import warp_points


@dataclass(frozen=True)
class HomographyConfig(Config):
    """Ranges of a random view of an image; every part is drawn evenly and symmetrically."""

    perspective: float = option(
        0.15, "Corners move by up to half this share of the image", minimum=0.0, maximum=0.3
    )
    scale: float = option(1.6, "Zoom between 1 / scale and scale, evenly in log", minimum=1.0)
    rotation_deg: float = option(
        30.0, "Rotation up to this either way", minimum=0.0, maximum=180.0
    )
    translation: float = option(
        0.15, "Shift up to this share of the image", minimum=0.0, maximum=1.0
    )
    keep_inside: bool = option(
        False, "Shift and zoom in until the view shows nothing beyond the image"
    )


def sample_homography(
    rng: np.random.Generator,
    source_hw: tuple[int, int],
    target_hw: tuple[int, int],
    config: HomographyConfig,
) -> Array:
    """Draw a view of an image.

    Args:
        rng: Source of randomness.
        source_hw: (height, width) of the image that is looked at.
        target_hw: (height, width) of the view. The neutral view shows the middle of the image at
            its own scale.
        config: Ranges.

    Returns:
        H_target_source (3, 3) float64.
    """
    target_wh = np.array(target_hw[::-1], dtype=np.float64)
    source_wh = np.array(source_hw[::-1], dtype=np.float64)
    # The patch of the source that becomes the view: four corners around the origin.
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    patch = (unit + rng.uniform(-1, 1, (4, 2)) * config.perspective / 2) * target_wh
    patch /= config.scale ** rng.uniform(-1, 1)
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg))
    cos, sin = np.cos(angle), np.sin(angle)
    patch = patch @ np.array([[cos, sin], [-sin, cos]])
    shift = rng.uniform(-1, 1, 2) * config.translation * source_wh
    if config.keep_inside:
        patch, shift = _fit_inside(patch, shift, source_wh)
    corners = patch + shift + (source_wh - 1) / 2
    view = (unit + 0.5) * target_wh - 0.5
    H: Array = cv2.getPerspectiveTransform(corners.astype(np.float32), view.astype(np.float32))
    # Positive depth in the middle of the patch: `warp_points` calls w <= 0 beyond the horizon.
    return H / float(H[2] @ np.append(corners.mean(0), 1.0))


def _fit_inside(patch: Array, shift: Array, source_wh: Array) -> tuple[Array, Array]:
    """Shrink the patch to the image if it is larger, then move it inside."""
    extent = patch.max(0) - patch.min(0)
    patch = patch * min(1.0, float((source_wh / extent).min()))
    low = -source_wh / 2 - patch.min(0)
    high = source_wh / 2 - patch.max(0)
    return patch, np.clip(shift, np.minimum(low, high), np.maximum(low, high))


def warp_image(image: Array, H_b_a: Array, size_hw: tuple[int, int]) -> Array:
    """Return the view (H, W) of a grey image; beyond its edge the image is mirrored.

    When the view shrinks the image, it is smoothed first, so that no aliasing makes up corners.
    """
    scale = _local_scale(H_b_a, size_hw)
    if scale < 0.8:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / scale)
    warped: Array = cv2.warpPerspective(
        image,
        H_b_a,
        size_hw[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return warped


def _local_scale(H_b_a: Array, size_hw: tuple[int, int]) -> float:
    """Return pixels of b per pixel of a at the middle of b."""
    centre = np.array([[size_hw[1] / 2, size_hw[0] / 2]])
    corners = centre + np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    a = warp_points(np.linalg.inv(H_b_a), corners)
    area = abs(np.linalg.det(np.stack([a[1] - a[0], a[2] - a[0]])))
    return float(2.0 / max(np.sqrt(area), 1e-6))


def valid_mask(H_b_a: Array, source_hw: tuple[int, int], size_hw: tuple[int, int]) -> Array:
    """Return (H, W) bool: which pixels of the view show the image itself, not its mirror."""
    ones = np.ones(source_hw, np.uint8)
    warped = cv2.warpPerspective(ones, H_b_a, size_hw[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(warped > 0)


def is_inside(points: Array, size_hw: tuple[int, int], border: float = 0.0) -> Array:
    """Return (N,) bool: which points (x, y) lie in the image, `border` pixels from its edge."""
    limits = np.array(size_hw[::-1]) - 1.0 - border
    return np.asarray(((points >= border) & (points <= limits)).all(1))


def warp_points_batch(H_b_a: Tensor, points: Tensor) -> Tensor:
    """Map points (B, N, 2) by H_b_a (B, 3, 3)."""
    ones = torch.ones_like(points[..., :1])
    mapped = torch.cat([points, ones], -1) @ H_b_a.transpose(1, 2)
    return mapped[..., :2] / mapped[..., 2:]
