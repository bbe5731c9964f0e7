# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From an image to keypoints and descriptors."""

from superpoint_ros.features.extractor import (
    Extractor,
    ExtractorConfig,
    extractor_from_config,
    load_extractor,
)

__all__ = ["Extractor", "ExtractorConfig", "extractor_from_config", "load_extractor"]
