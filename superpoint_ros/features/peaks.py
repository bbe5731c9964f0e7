# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Peaks of a response over the pixels, and what of them is left where no two may be close."""

from __future__ import annotations

import cv2
import numpy as np

from superpoint_ros.data import Array

BORDER_PX = 4  # no peak lies nearer to the edge, as no keypoint of ours


def suppress_close(keypoints: Array, responses: Array, radius: int) -> Array:
    """Return indices of the keypoints that survive the greedy pass, best response first.

    Args:
        keypoints: (N, 2) pixels, not negative.
        responses: (N,).
        radius: No two survivors lie this close or closer, in whole pixels (largest of dx and dy).
    """
    order = np.argsort(-responses, kind="stable")
    if not len(order) or radius == 0:
        return order
    pixels = np.rint(keypoints).astype(int)
    is_taken = np.zeros(pixels.max(axis=0) + radius + 1, bool)
    kept = []
    for index in order:
        x, y = pixels[index]
        if not is_taken[x, y]:
            kept.append(index)
            is_taken[max(x - radius, 0) : x + radius + 1, max(y - radius, 0) : y + radius + 1] = 1
    return np.array(kept)


def find_peaks(values: Array, threshold: float, radius: int, limit: int) -> tuple[Array, Array]:
    """Return local maxima, moved to the vertex of a parabola through the logarithms around them.

    Args:
        values: (H, W) float32, not negative.
        threshold: Peaks are higher.
        radius: Of the square in which a peak is the maximum, pixels.
        limit: Most peaks, highest first; 0: all.

    Returns:
        Points (N, 2) float64, (x, y) pixels, none within 4 pixels of the edge; values (N,).
    """
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    is_peak = (values >= cv2.dilate(values, square)) & (values > threshold)
    is_peak[:BORDER_PX] = is_peak[-BORDER_PX:] = False
    is_peak[:, :BORDER_PX] = is_peak[:, -BORDER_PX:] = False
    y, x = np.nonzero(is_peak)
    order = np.argsort(-values[y, x], kind="stable")[: limit or None]
    y, x = y[order], x[order]
    logs = np.log(np.maximum(values, 1.0e-12)).astype(np.float64)
    points = np.stack(
        [
            x + _vertex(logs[y, x - 1], logs[y, x], logs[y, x + 1]),
            y + _vertex(logs[y - 1, x], logs[y, x], logs[y + 1, x]),
        ],
        1,
    )
    return points, values[y, x]


def _vertex(before: Array, at: Array, after: Array) -> Array:
    """Return where the parabola through three values is highest, within half a step."""
    bend = np.minimum(before + after - 2.0 * at, -1.0e-9)
    return np.asarray(np.clip((before - after) / 2.0 / bend, -0.5, 0.5))
