# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ALIKED, the learned features of Zhao et al. 2023, by kornia: a peer to be measured against.

Its weights (BSD 3-clause) are not ours and not shipped: kornia fetches them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array

# Name -> length of a descriptor.
ALIKED_DIMS = {"aliked-t16": 64, "aliked-n16": 128, "aliked-n16rot": 128, "aliked-n32": 128}
_MOST_KEYPOINTS = 20_000


def load_aliked(name: str, max_keypoints: int) -> Callable[[Array], tuple[Array, Array, Array]]:
    """Return what finds and describes the keypoints of a grey image (H, W) uint8.

    It returns keypoints (N, 2), scores (N,) and descriptors (N, D) of unit length. Runs on the
    CPU; keypoints keep 2 pixels apart, as its authors have it.

    Args:
        name: Of `ALIKED_DIMS`.
        max_keypoints: The best so many; 0: 20,000.

    Raises:
        ConfigError: kornia is not here or too old, or its weights cannot be had.
    """
    try:
        from kornia.feature import ALIKED
    except ImportError:
        raise ConfigError(
            f"features {name!r}: pip install 'kornia>=0.9' (Python 3.11 or newer)"
        ) from None
    try:
        network = ALIKED.from_pretrained(name, max_keypoints or _MOST_KEYPOINTS)
    except RuntimeError:
        home = f"{torch.hub.get_dir()}/checkpoints/{name}.pth"
        raise ConfigError(
            f"features {name!r}: its weights cannot be fetched; put models/{name}.pth of "
            f"https://github.com/Shiaoming/ALIKED at {home}"
        ) from None

    @torch.inference_mode()
    def find(grey: Array) -> tuple[Array, Array, Array]:
        image = torch.from_numpy(grey.astype(np.float32) / 255.0)
        found = network(image[None, None])[0]
        return found.keypoints.numpy(), found.keypoint_scores.numpy(), found.descriptors.numpy()

    return find
