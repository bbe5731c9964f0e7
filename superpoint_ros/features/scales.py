# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One image seen at several sizes: what the network finds in each becomes one answer.

Homographic Adaptation (SuperPoint, Sec. 5) averages a detector over warped views to make labels.
Over two or three sizes that is cheap enough for every frame, and helps descriptors as much: the
smaller view knows more of a point's surroundings, the larger one where it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from superpoint_ros.data import Array
from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.image import resize
from superpoint_ros.network.cells import CELL_SIZE


def shrink_images(images: Array, scale: float) -> Array:
    """Shrink images to whole cells of the network; they show the same as before.

    Args:
        images: (B, H, W) uint8, H and W multiples of 8.
        scale: In (0, 1].

    Returns:
        (B, H', W') uint8, of the `shrunk_size`.
    """
    size_hw = shrunk_size((images.shape[1], images.shape[2]), scale)
    return np.stack([resize(image, size_hw) for image in images])


def shrunk_size(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return each side scaled and rounded to a multiple of 8, at least 8, (height, width)."""
    height, width = (max(1, round(side * scale / CELL_SIZE)) * CELL_SIZE for side in size_hw)
    return height, width


def mean_heatmap(
    heatmaps: Sequence[Tensor], scales: Sequence[float], size_hw: tuple[int, int]
) -> Tensor:
    """Average the probabilities that views of the same image got, in each pixel of the image.

    The probability of one pixel in a view of scale s is spread over the 1/s^2 pixels that it
    covers. A view counts by 1/s: what it finds rests on more of the image.

    Args:
        heatmaps: (B, H', W') float32 of each view; interpolated bilinearly.
        scales: Of the views.
        size_hw: (H, W) of the result.

    Returns:
        (B, H, W) float32.
    """
    total_weight = sum(1.0 / scale for scale in scales)
    weighted = [
        (scale / total_weight) * _fit(heatmap, size_hw)
        for heatmap, scale in zip(heatmaps, scales, strict=True)
    ]
    return sum(weighted[1:], weighted[0])


def _fit(heatmap: Tensor, size_hw: tuple[int, int]) -> Tensor:
    if heatmap.shape[1:] == size_hw:
        return heatmap
    resized = functional.interpolate(
        heatmap.unsqueeze(1), size_hw, mode="bilinear", align_corners=False
    )
    return resized.squeeze(1)


def mean_descriptors(
    dense_descriptors: Sequence[Tensor],
    scales: Sequence[float],
    keypoints: Tensor,
    size_hw: tuple[int, int],
    interpolation: str = "bilinear",
) -> Tensor:
    """Average the descriptors that keypoints have in views of the same image.

    A view counts by its scale.

    Args:
        dense_descriptors: (B, D, Hc, Wc) of each view.
        scales: Of the views.
        keypoints: (B, K, 2), (x, y) in pixels of an image of `size_hw`.
        size_hw: (H, W).
        interpolation: As for `sample_descriptors`.

    Returns:
        (B, K, D) float32, unit length.
    """
    sampled = [
        sample_descriptors(dense, keypoints, size_hw, interpolation) for dense in dense_descriptors
    ]
    if len(sampled) == 1:  # of unit length already
        return sampled[0]
    weighted = [scale * view for view, scale in zip(sampled, scales, strict=True)]
    return functional.normalize(sum(weighted[1:], weighted[0]), dim=2)
