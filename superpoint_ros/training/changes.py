# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs of views that differ in one thing, by a known amount: where do features give up?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.conditions import Condition
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.training.datasets import list_photos
from superpoint_ros.training.validation import make_pairs

# The camera that sees a tilted photo, in widths of its image.
_FOCAL_LENGTH = 1.5


@dataclass(frozen=True)
class Change:
    """How the second view differs from the first.

    Attributes:
        unit: Of the amounts, for people.
        amounts: That are measured unless others are asked for.
        size_hw: (height, width) of both views.
    """

    unit: str
    amounts: tuple[float, ...]
    size_hw: tuple[int, int] = (240, 320)


CHANGES = {
    # Square: what is in the middle stays in sight.
    "rotation": Change("degrees", (0, 15, 30, 45, 60, 75, 90), (240, 240)),
    "zoom": Change("times smaller", (1, 1.5, 2, 2.5, 3)),
    "tilt": Change("degrees", (0, 30, 45, 60, 70)),
    "blur": Change("pixels, Gaussian sigma", (0, 1, 2, 3, 4)),
    "light": Change("times the light", (1 / 16, 1 / 4, 1, 4, 16)),
}


def make_changed_pairs(
    images: Path, count: int, change: str, amount: float, seed: int = 0
) -> list[HomographyPair]:
    """Show photos of the validation split as they are and changed, both with photometric noise.

    Args:
        images: Folder of photos, as given to the training.
        count: Pairs.
        change: Of `CHANGES`.
        amount: In its unit.
        seed: Same seed, same noise.
    """
    size_hw = CHANGES[change].size_hw

    def draw(rng: np.random.Generator, source_hw: tuple[int, int]) -> tuple[Array, Array]:
        H_a_p = np.eye(3)  # middle to middle
        H_a_p[:2, 2] = (np.array(size_hw[::-1]) - np.array(source_hw[::-1])) / 2
        return H_a_p, _homography(change, amount, size_hw, rng) @ H_a_p

    def degrade(image: Array, index: int) -> Array:
        if change == "light":
            return Condition(gain=amount, seed=seed).change_image(image, index)
        if change == "blur" and amount > 0:
            blurred: Array = cv2.GaussianBlur(image, (0, 0), amount)
            return blurred
        return image

    return make_pairs(list_photos(images, "validation"), count, size_hw, seed, draw, degrade)


def _homography(
    change: str, amount: float, size_hw: tuple[int, int], rng: np.random.Generator
) -> Array:
    """Return H_b_a (3, 3), about the middle of the view."""
    linear = np.eye(3)
    if change == "rotation":
        cos, sin = np.cos(np.deg2rad(amount)), np.sin(np.deg2rad(amount))
        linear[:2, :2] = [[cos, -sin], [sin, cos]]
    elif change == "zoom":
        linear[:2, :2] /= amount
    elif change == "tilt":
        linear = _tilt(amount, _FOCAL_LENGTH * size_hw[1], rng)
    to_middle = np.eye(3)
    to_middle[:2, 2] = -(np.array(size_hw[::-1]) - 1) / 2
    H: Array = np.linalg.inv(to_middle) @ linear @ to_middle
    return H / float(H[2, 2])


def _tilt(angle_deg: float, focal_length: float, rng: np.random.Generator) -> Array:
    """Return the homography of a plane turned about an axis in it, at unit distance."""
    direction = rng.uniform(0, np.pi)
    axis = np.array([np.cos(direction), np.sin(direction), 0.0])
    R = cv2.Rodrigues(axis * np.deg2rad(angle_deg))[0]
    K = np.diag([focal_length, focal_length, 1.0])
    e = np.array([0.0, 0.0, 1.0])  # the middle of the plane, which (x, y, 1) turns about
    H: Array = K @ (R + np.outer(e - R @ e, e)) @ np.linalg.inv(K)
    return H
