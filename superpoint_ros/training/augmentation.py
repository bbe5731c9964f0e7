# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Photometric noise: what cameras and light do to grey levels without moving a corner."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array


@dataclass(frozen=True)
class AugmentationConfig(Config):
    """Strength of each kind of noise; each is applied with `probability`."""

    probability: float = option(0.5, "Chance of each kind of noise", minimum=0.0, maximum=1.0)
    brightness: float = option(45.0, "Offset up to this either way, grey levels", minimum=0.0)
    contrast: float = option(1.8, "Contrast between 1 / this and this", minimum=1.0)
    gamma: float = option(1.5, "Exponent between 1 / this and this", minimum=1.0)
    gaussian_noise: float = option(8.0, "Largest standard deviation, grey levels", minimum=0.0)
    speckle_noise: float = option(0.08, "Largest deviation as a share of the level", minimum=0.0)
    blur_px: float = option(1.2, "Largest Gaussian blur, pixels", minimum=0.0)
    motion_blur_px: float = option(5.0, "Longest motion blur, pixels", minimum=0.0)
    shade: float = option(0.5, "Deepest shadow, share of the level", minimum=0.0, maximum=1.0)


def augment(image: Array, rng: np.random.Generator, config: AugmentationConfig) -> Array:
    """Add random noise.

    Args:
        image: Grey levels (H, W), uint8.
        rng: Source of randomness.
        config: Strengths.

    Returns:
        (H, W) uint8, a new array.
    """
    levels = image.astype(np.float32)

    def is_drawn() -> bool:
        return bool(rng.random() < config.probability)

    if is_drawn():
        levels *= _shade(levels.shape, rng, config.shade)
    if is_drawn():
        mean = float(levels.mean())
        levels = (levels - mean) * _around_one(rng, config.contrast) + mean
    if is_drawn():
        levels += np.float32(rng.uniform(-config.brightness, config.brightness))
    if is_drawn():
        exponent = _around_one(rng, config.gamma)
        levels = 255.0 * np.power(np.clip(levels, 0, 255) / 255.0, exponent, dtype=np.float32)
    if is_drawn() and config.blur_px > 0:
        levels = cv2.GaussianBlur(levels, (0, 0), float(rng.uniform(0.2, 1.0)) * config.blur_px)
    if rng.random() < 0.4 * config.probability and config.motion_blur_px >= 2:
        levels = _blur_by_motion(levels, rng, config.motion_blur_px)
    if is_drawn():
        sigma = rng.uniform(0, config.speckle_noise)
        levels *= 1.0 + np.float32(sigma) * rng.standard_normal(levels.shape, np.float32)
    if is_drawn():
        sigma = rng.uniform(0, config.gaussian_noise)
        levels += np.float32(sigma) * rng.standard_normal(levels.shape, np.float32)
    noisy: Array = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return noisy


def _around_one(rng: np.random.Generator, factor: float) -> np.float32:
    return np.float32(factor ** rng.uniform(-1, 1))


def _shade(shape: tuple[int, ...], rng: np.random.Generator, depth: float) -> Array:
    """Return a factor per pixel: a few soft ellipses of shadow or light."""
    height, width = shape
    coarse = np.ones((max(height // 8, 4), max(width // 8, 4)), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        centre = (rng.uniform(0, 1, 2) * coarse.shape[::-1]).astype(int).tolist()
        axes = np.maximum(rng.uniform(0.1, 0.5, 2) * min(coarse.shape), 1).astype(int).tolist()
        level = 1.0 + float(rng.uniform(-depth, depth))
        cv2.ellipse(coarse, centre, axes, float(rng.uniform(0, 90)), 0, 360, level, -1)
    coarse = cv2.GaussianBlur(coarse, (0, 0), float(rng.uniform(0.8, 3.0)))
    factors: Array = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return factors


def _blur_by_motion(levels: Array, rng: np.random.Generator, longest_px: float) -> Array:
    """Average along a random direction; the kernel is centred, so nothing is displaced."""
    length = float(rng.uniform(2.0, longest_px))
    size = int(np.ceil(length)) // 2 * 2 + 3
    kernel = np.zeros((size, size), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (size - 1) / 2
    offset = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    ends = np.rint((np.array([middle - offset, middle + offset])) * 16).astype(int).tolist()
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    kernel += kernel[::-1, ::-1].copy()  # exactly symmetric
    blurred: Array = cv2.filter2D(levels, -1, kernel / kernel.sum())
    return blurred
