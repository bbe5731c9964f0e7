# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same odometry with other features, so that features are compared and nothing else.

The odometry's thresholds are cosines of SuperPoint descriptors, and those of others lie elsewhere:
of two right matches RootSIFT's have nearly all more than 0.85. So each kind gets the cosine that
refuses the same share of right matches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from superpoint_ros.config import ConfigError, change_settings
from superpoint_ros.data import Array, Features
from superpoint_ros.features.extractor import Extractor, ExtractorConfig
from superpoint_ros.features.klt import KltExtractor
from superpoint_ros.features.peers import LEARNED_DESCRIBED, make_peer
from superpoint_ros.odometry.visual_odometry import OdometryConfig

FEATURE_KINDS = ("superpoint", "rootsift", "orb", "klt", *LEARNED_DESCRIBED)

# Where 0.1, 0.9, 4.0, 27.5 % of the right mutual matches lie below, as `python -m
# superpoint_ros.evaluation.equal_cosines data/photos` measures it: 40 photos, each warped (12
# degrees, scale 0.8 to 1.2, perspective), blurred, darkened or brightened, with noise; 500
# keypoints, 3 pixels; 11,903, 7,568 and 8,505 matches, of ALIKED 4,037 to 10,736; weights
# 24821b9c (05d94615's differ by 0.03 at most). The ends are what a cosine can be.
_SUPERPOINT = (-1.0, 0.6, 0.7, 0.8, 0.9, 1.0)
_EQUAL_COSINES = {
    "rootsift": (-1.0, 0.85, 0.87, 0.91, 0.97, 1.0),
    "orb": (-1.0, 0.45, 0.51, 0.59, 0.74, 1.0),
    "aliked-t16": (-1.0, 0.59, 0.67, 0.76, 0.88, 1.0),
    "aliked-n16": (-1.0, 0.57, 0.66, 0.75, 0.88, 1.0),
    "aliked-n16rot": (-1.0, 0.63, 0.70, 0.78, 0.90, 1.0),
    "aliked-n32": (-1.0, 0.57, 0.67, 0.76, 0.88, 1.0),
}


class FeatureSource(Protocol):
    """What makes features; the `Extractor` of the nodes is one."""

    @property
    def model_id(self) -> str:
        """Name."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Of its weights file; empty if it has none."""
        ...

    def __call__(self, image: Array) -> Features:
        """Extract the features of an image (H, W) uint8."""
        ...

    def extract_batch(self, images: Sequence[Array]) -> list[Features]:
        """Extract the features of the images of one moment."""
        ...


def check_kinds(kinds: Sequence[str]) -> None:
    """Check names of features.

    Raises:
        ConfigError: None, an unknown one, or one twice.
    """
    for kind in kinds:
        if kind not in FEATURE_KINDS:
            raise ConfigError(f"--features {kind}: known: {', '.join(FEATURE_KINDS)}")
    if not kinds or len(set(kinds)) < len(kinds):
        raise ConfigError(f"--features: name each of {', '.join(FEATURE_KINDS)} at most once")


def remembers_images(kind: str) -> bool:
    """Whether the features of an image depend on the images before it."""
    return kind == "klt"


def feature_maker(
    kind: str, config: ExtractorConfig, network: Extractor | None
) -> Callable[[], FeatureSource]:
    """Return what makes the features of one kind, anew for every run if they remember.

    Args:
        kind: One of `FEATURE_KINDS`.
        config: All kinds take at most its number of keypoints.
        network: The one for "superpoint"; None if that is not asked for.
    """
    limit = config.keypoints.max_keypoints
    if kind == "klt":
        return lambda: KltExtractor(limit, config.keypoints.nms_radius)
    if kind == "superpoint":
        assert network is not None
        return lambda: network
    peer = make_peer(kind, limit)
    return lambda: peer


def equal_similarity(kind: str, similarity: float) -> float:
    """Return the cosine that refuses as many right matches as `similarity` of SuperPoint does."""
    if kind not in _EQUAL_COSINES:  # KLT's are 1 or about 0: every threshold does
        return similarity
    return float(np.interp(similarity, _SUPERPOINT, _EQUAL_COSINES[kind]))


def config_for(kind: str, config: OdometryConfig) -> OdometryConfig:
    """Return the odometry's config with the cosines of SuperPoint translated to another kind."""
    return change_settings(config, "min_similarity", lambda value: equal_similarity(kind, value))
