# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs of views that differ in one thing, by a known amount: where do features give up?"""

from __future__ import annotations

from collections.abc import Callable
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


def _rotate(angle_deg: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _shrink(times: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    return np.diag([1.0 / times, 1.0 / times, 1.0])


def _tilt(angle_deg: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Array:
    """Turn the plane of the photo, at unit distance, about an axis in it."""
    direction = rng.uniform(0, np.pi)
    axis = np.array([np.cos(direction), np.sin(direction), 0.0])
    R = cv2.Rodrigues(axis * np.deg2rad(angle_deg))[0]
    focal_length = _FOCAL_LENGTH * size_hw[1]
    K = np.diag([focal_length, focal_length, 1.0])
    e = np.array([0.0, 0.0, 1.0])  # the middle of the plane, which (x, y, 1) turns about
    H: Array = K @ (R + np.outer(e - R @ e, e)) @ np.linalg.inv(K)
    return H


def _blur(image: Array, sigma_px: float, index: int, seed: int) -> Array:
    blurred: Array = cv2.GaussianBlur(image, (0, 0), sigma_px) if sigma_px > 0 else image
    return blurred


def _expose(image: Array, gain: float, index: int, seed: int) -> Array:
    return Condition(gain=gain, seed=seed).change_image(image, index)


@dataclass(frozen=True)
class Change:
    """How the second view differs from the first.

    Attributes:
        unit: Of the amounts, for people.
        amounts: That are measured unless others are asked for.
        size_hw: (height, width) of both views.
        move: Given an amount, `size_hw` and a source of randomness, returns the homography (3, 3)
            about the middle of the view.
        degrade: Given an image, an amount, the number of the pair and a seed, returns the image.
    """

    unit: str
    amounts: tuple[float, ...]
    size_hw: tuple[int, int] = (240, 320)
    move: Callable[[float, tuple[int, int], np.random.Generator], Array] | None = None
    degrade: Callable[[Array, float, int, int], Array] | None = None


CHANGES = {
    # Square: what is in the middle stays in sight.
    "rotation": Change("degrees", (0, 15, 30, 45, 60, 75, 90), (240, 240), move=_rotate),
    "zoom": Change("times smaller", (1, 1.5, 2, 2.5, 3), move=_shrink),
    "tilt": Change("degrees", (0, 30, 45, 60, 70), move=_tilt),
    "blur": Change("pixels, Gaussian sigma", (0, 1, 2, 3, 4), degrade=_blur),
    "light": Change("times the light", (1 / 16, 1 / 4, 1, 4, 16), degrade=_expose),
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
    how = CHANGES[change]
    to_middle = np.eye(3)
    to_middle[:2, 2] = -(np.array(how.size_hw[::-1]) - 1) / 2

    def draw(rng: np.random.Generator, source_hw: tuple[int, int]) -> tuple[Array, Array]:
        H_a_p = np.eye(3)  # middle to middle
        H_a_p[:2, 2] = (np.array(how.size_hw[::-1]) - np.array(source_hw[::-1])) / 2
        if how.move is None:
            return H_a_p, H_a_p
        H_b_a = np.linalg.inv(to_middle) @ how.move(amount, how.size_hw, rng) @ to_middle
        return H_a_p, H_b_a / float(H_b_a[2, 2]) @ H_a_p

    def degrade(image: Array, index: int) -> Array:
        return image if how.degrade is None else how.degrade(image, amount, index, seed)

    return make_pairs(list_photos(images, "validation"), count, how.size_hw, seed, draw, degrade)
