# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The seed of OpenCV's RANSAC, which has none: its generator starts alike on every call.

Given its rows in another order it draws other samples, so a seed is an order of the rows.
"""

from __future__ import annotations

import numpy as np

from superpoint_ros.config import option
from superpoint_ros.data import Array


def seed_option() -> int:
    """Declare the `seed` of a config whose solver uses `draw_order`."""
    seed: int = option(
        0, "Seed of RANSAC; the same seed gives the same answer.", minimum=0, maximum=1_000_000
    )
    return seed


def draw_order(count: int, seed: int) -> Array:
    """Return the order (N,) in which RANSAC takes its `count` rows; seed 0: as they are."""
    if seed == 0:
        return np.arange(count)
    return np.random.default_rng([seed, count]).permutation(count)
